// Facts about IOSurfaces that the stand-in keeps and macOS does not tell.
#pragma once
#include <IOSurface/IOSurfaceRef.h>

#ifdef __cplusplus
extern "C" {
#endif

// The device is about to use the surface; the CPU should have unlocked it.
void ane_surface_enters_device(IOSurfaceRef surface);

long ane_surfaces_live(void);
// Unlocks without a lock of the same kind, surfaces freed while locked or locked while the device uses them.
long ane_surfaces_lock_errors(void);
void ane_surfaces_forget_lock_errors(void);

#ifdef __cplusplus
}
#endif
