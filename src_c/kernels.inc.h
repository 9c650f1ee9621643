/* All kernels for one ISA and one dtype, in the order in which they build on each other. */
#include "simd.h"

#define KERNEL_NAME2(name, suffix) fbp_##name##suffix
#if FBP_F64
#define KERNEL(name) KERNEL_NAME2(name, _f64)
#else
#define KERNEL(name) KERNEL_NAME2(name, _f32)
#endif

#include "ops/math.inc.h"
#include "ops/trigonometry.inc.h"
#include "ops/powers.inc.h"
#include "ops/vector.inc.h"
#include "ops/activations.inc.h"
#include "ops/transpose.inc.h"
#include "ops/gemm.inc.h"
#include "ops/gemm_thin.inc.h"
#include "ops/gemm_pack.inc.h"
#include "ops/gemm_bf16.inc.h"
#include "ops/linear_narrow.inc.h"
#include "ops/linear.inc.h"
#include "ops/sparse_linear.inc.h"
#include "ops/window.inc.h"
#include "ops/conv.inc.h"
#include "ops/pool.inc.h"
#include "ops/conv_transpose.inc.h"
#include "ops/upsample.inc.h"
#include "ops/reshape.inc.h"
#include "ops/recurrent.inc.h"
#include "ops/sums.inc.h"
#include "ops/softmax.inc.h"
#include "ops/dropout.inc.h"
#include "ops/random.inc.h"
#include "ops/batch_norm.inc.h"
#include "ops/layer_norm.inc.h"
#include "ops/elementwise.inc.h"
#include "ops/concat.inc.h"
#include "ops/embedding.inc.h"
#include "ops/scale.inc.h"
#include "ops/grouped_linear.inc.h"
#include "ops/periodic.inc.h"
#include "ops/piecewise_linear.inc.h"
#include "ops/attention.inc.h"
#include "ops/rms_norm.inc.h"
#include "ops/group_norm.inc.h"
#include "ops/prelu.inc.h"
#include "ops/glu.inc.h"
#include "ops/slice.inc.h"
#include "ops/positions.inc.h"
#include "ops/rotary.inc.h"
#include "ops/losses.inc.h"
#include "ops/expression.inc.h"
#include "ops/over_rows.inc.h"
#include "ops/pairs.inc.h"
#include "ops/sources.inc.h"
#include "ops/optimizers.inc.h"
#include "ops/peak.inc.h"

#undef FBP_BF16
#undef FBP_ROUND
#undef FBP_FRACTION_BITS
#undef FBP_ROTATED
#undef FBP_POLYNOMIAL
#undef KERNEL
#undef KERNEL_NAME2
#undef T
#undef TI
#undef TU
#undef FN
#undef V
#undef VU
#undef VI
#undef VW
#undef VL
