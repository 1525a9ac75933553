//! One object that owns the IKE endpoint, SPD and SAD.
