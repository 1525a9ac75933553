//! The configuration file as written, and the checked runtime types made of it.
