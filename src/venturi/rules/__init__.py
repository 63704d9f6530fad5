"""Match and decide: header facts + association facts + destination -> Decision. Pure, so ``explain`` is exact."""
