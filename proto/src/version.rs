//! Which versions of the protocol an end speaks, and what two ends agree on.

/// An inclusive range of protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The oldest version spoken.
    pub min: u32,
    /// The newest version spoken.
    pub max: u32,
}

impl Versions {
    /// What this build speaks: version N and, once there is one, N-1.
    pub const CURRENT: Self = Self { min: 1, max: 1 };

    /// The highest version both know, or `None`.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u32> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }

    /// Whether this end speaks `version`.
    #[must_use]
    pub fn speaks(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;

    const OLD: Versions = Versions { min: 1, max: 2 };
    const NEW: Versions = Versions { min: 2, max: 3 };
    const NEXT: Versions = Versions { min: 3, max: 4 };

    #[test]
    fn neighbours_agree_and_strangers_do_not() {
        assert_eq!(OLD.agree(NEW), Some(2));
        assert_eq!(NEW.agree(OLD), Some(2));
        assert_eq!(NEW.agree(NEW), Some(3));
        assert_eq!(OLD.agree(NEXT), None);
        assert_eq!(NEXT.agree(OLD), None);
        assert!(OLD.speaks(1) && !OLD.speaks(3) && !OLD.speaks(0));
    }
}
