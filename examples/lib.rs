//! Programs that keep their data in strewn; see the examples beside this file.
