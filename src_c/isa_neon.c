#if defined(__aarch64__)
#define FBP_ISA_NEON 1
#define FBP_ISA_NAME "neon"
#define FBP_SIMD "simd_neon.h"
#define FBP_ISA_TABLE fbp_table_neon
#include "isa.inc.h"
#else
typedef int fbp_no_such_isa_here;
#endif
