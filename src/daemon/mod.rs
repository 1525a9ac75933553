//! The composition root: starts, joins and stops the parts.
