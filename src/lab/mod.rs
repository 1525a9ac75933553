//! An office and a cloud in network namespaces, for the demo and the tests.
