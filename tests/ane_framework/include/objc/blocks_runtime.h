// GNUstep's headers ask for the blocks runtime by the name that it has in another package.
#pragma once
#include <Block.h>
