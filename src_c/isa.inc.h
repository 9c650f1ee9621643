/* All kernels for one ISA: an isa_*.c file sets FBP_ISA_<NAME> and FBP_ISA_TABLE, and includes this file once. */
#include "simd_types.h"
#include "fastbp.h"

#define FBP_F64 0
#include "kernels.inc.h"
#undef FBP_F64
#define FBP_F64 1
#include "kernels.inc.h"
#undef FBP_F64

const fbp_table FBP_ISA_TABLE = {
    .name = FBP_ISA_NAME,
    .vector_bytes = FBP_VBYTES,
#define FBP_OPTIMIZER(name)
#define FBP_KERNEL(name, args)
#define FBP_OP(name) [FBP_OP_##name] = &name##_phases_f32,
    .op[0] = {
#include "op_list.h"
    },
#undef FBP_OP
#define FBP_OP(name) [FBP_OP_##name] = &name##_phases_f64,
    .op[1] = {
#include "op_list.h"
    },
#undef FBP_OP
#undef FBP_OPTIMIZER
#define FBP_OP(name)
#define FBP_OPTIMIZER(name) [FBP_OPTIMIZER_##name] = name##_update_f32,
    .update[0] = {
#include "op_list.h"
    },
#undef FBP_OPTIMIZER
#define FBP_OPTIMIZER(name) [FBP_OPTIMIZER_##name] = name##_update_f64,
    .update[1] = {
#include "op_list.h"
    },
#undef FBP_OPTIMIZER
#define FBP_OPTIMIZER(name) [FBP_OPTIMIZER_##name] = name##_begin_f64,
    .begin = {
#include "op_list.h"
    },
#undef FBP_OPTIMIZER
#undef FBP_KERNEL
#define FBP_OPTIMIZER(name)
#define FBP_KERNEL(name, args) .name = fbp_##name##_f32,
    .f32 = {
#include "op_list.h"
    },
#undef FBP_KERNEL
#define FBP_KERNEL(name, args) .name = fbp_##name##_f64,
    .f64 = {
#include "op_list.h"
    },
#undef FBP_KERNEL
#undef FBP_OPTIMIZER
#undef FBP_OP
    .sum_of_squares = {sum_of_squares_f32, sum_of_squares_f64},
    .all_within = {all_within_f32, all_within_f64},
    .scale = {scale_f32, scale_f64},
    .clamp = {clamp_f32, clamp_f64},
    .fma_loop = {fma_loop_f32, fma_loop_f64},
    .accumulate_phases = {{.forward = accumulate_forward_f32, .gradient = accumulate_gradient_f32},
                          {.forward = accumulate_forward_f64, .gradient = accumulate_gradient_f64}},
};

#if defined(__clang__) && (FBP_ISA_AVX512 || FBP_ISA_AVX2)
#pragma clang attribute pop
#endif
