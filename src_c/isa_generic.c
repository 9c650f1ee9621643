#define FBP_ISA_GENERIC 1
#define FBP_ISA_NAME "generic"
#define FBP_SIMD "simd_generic.h"
#define FBP_ISA_TABLE fbp_table_generic
#include "isa.inc.h"
