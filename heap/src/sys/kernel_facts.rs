//! What is assumed of the kernel.
