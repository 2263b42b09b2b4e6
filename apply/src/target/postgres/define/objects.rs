//! Rows of `lockstep.load_object`.
