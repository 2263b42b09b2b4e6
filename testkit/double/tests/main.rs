//! The double, from outside.

mod cdc;
