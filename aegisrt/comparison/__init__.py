"""One comparison of tensors and of answers: for `aegisrt compare`, and for the references of the conformance kit."""
