//! Versions of VMware's desktop products, from what their programs print.

use virt_util::{Result, VirtError};

/// A product whose guests run on a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// VMware Player.
    Player,
    /// VMware Workstation.
    Workstation,
    /// VMware Fusion.
    Fusion,
}

impl Product {
    /// The product by the word that URIs and settings use.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "player" => Some(Self::Player),
            "ws" => Some(Self::Workstation),
            "fusion" => Some(Self::Fusion),
            _ => None,
        }
    }

    /// What its programs print before the version.
    fn lead(self) -> &'static str {
        match self {
            Self::Player => "VMware Player ",
            Self::Workstation => "VMware Workstation ",
            Self::Fusion => "\nVMware Fusion Information:\nVMware Fusion ",
        }
    }

    /// The version in a program's output: a million for each major, a thousand for each minor version.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if there is none: what was looked for.
    pub fn version(self, output: &str) -> Result<u64> {
        let lead = self.lead();
        let (_, text) = output
            .split_once(lead)
            .ok_or_else(|| VirtError::internal(format_args!("no version: {lead:?} is not in the answer")))?;
        scan(text).ok_or_else(|| {
            let found: String = text.chars().take_while(|c| !c.is_whitespace()).take(40).collect();
            VirtError::internal(format_args!(
                "version parsing error: '{found}' found behind {lead:?}, three numbers with dots are expected"
            ))
        })
    }
}

/// `MAJOR.MINOR.MICRO` at the beginning of a text.
fn scan(text: &str) -> Option<u64> {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        Some((u64::from(digits.parse::<u32>().ok()?), rest.to_owned()))
    };
    let (major, rest) = number(text)?;
    let (minor, rest) = number(rest.strip_prefix('.')?)?;
    let (micro, _) = number(rest.strip_prefix('.')?)?;
    Some(major * 1_000_000 + minor * 1000 + micro)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_among_other_output() {
        let text = "noise\nVMware Player 12.5.9 build-7535481 Release\n";
        assert_eq!(Product::Player.version(text).unwrap(), 12_005_009);
        let text = "\nVMware Fusion Information:\nVMware Fusion 5.0.3 build-1040386 Release\n";
        assert_eq!(Product::Fusion.version(text).unwrap(), 5_000_003);
        let error = Product::Workstation
            .version("VMware Workstation e.x.p build")
            .unwrap_err();
        assert!(error.message().contains("'e.x.p' found"), "{error}");
        assert!(Product::Workstation.version(text).is_err());
    }
}
