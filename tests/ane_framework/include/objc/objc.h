// Clang's expectations of objc.h, which GCC's libobjc defines otherwise.
#pragma once
#include_next <objc/objc.h>

// GCC's "(BOOL)1" breaks clang's @YES and @NO literals.
#undef YES
#undef NO
#define YES __objc_yes
#define NO __objc_no

// GCC's "(id)0" is not a null pointer constant: no NSError** could be nil.
#undef nil
#undef Nil
#ifdef __cplusplus
#define nil nullptr
#define Nil nullptr
#else
#define nil ((void*)0)
#define Nil ((void*)0)
#endif
