#if defined(__x86_64__) || defined(_M_X64)
#define FBP_ISA_AVX2 1
#define FBP_ISA_NAME "avx2"
#define FBP_SIMD "simd_avx2.h"
#define FBP_ISA_TABLE fbp_table_avx2
#include "isa.inc.h"
#else
typedef int fbp_no_such_isa_here;
#endif
