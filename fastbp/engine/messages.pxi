# Included by native.pyx: how ranks meet that send each other messages, by whatever connects them.


cdef int32_t _meet(void *plan, fbp_occasion occasion, fbp_update_plan *update, double *sums) noexcept nogil:
    """Add up over all ranks, by whatever connects them; keep what that raises."""
    cdef uint64_t mode = fbp_flush_subnormals(0)
    cdef int32_t failed = 0
    cdef int i
    with gil:
        self = <Plan> plan
        try:
            mine = np.array([sums[i] for i in range(FBP_SUMS)])
            if occasion == FBP_MEET_BEGIN:
                self.share.ranks.begin(mine)
            elif occasion == FBP_MEET_PIECE:
                piece = self.pieces[<int64_t> sums[0]]
                self.share.ranks.add_piece(self._memory.grads.flat[piece.first:piece.last])
            else:
                failed = self.share.ranks.meet(mine, self._memory.grads.flat)
                for i in range(FBP_SUMS):
                    sums[i] = mine[i]
        except BaseException as error:
            self.error = self.error or error
            failed = 1
    fbp_set_float_mode(mode)
    return failed
