//! Programs to begin with, for each target.

/// Seeds of the target with this name.
pub fn seeds(_target: &str) -> Vec<(String, Vec<u8>)> {
    Vec::new()
}
