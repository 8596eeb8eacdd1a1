// GCC's libobjc has no objc_msgSend: runtime/objc_msgSend_*.S has.
#pragma once
#include_next <objc/message.h>

#ifdef __cplusplus
extern "C" {
#endif
id objc_msgSend(id self, SEL selector, ...);
#ifdef __cplusplus
}
#endif
