//! One suite for every tracker.
