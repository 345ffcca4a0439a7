//! What protects the guest's memory and keys from the host.

use virt_util::xml::{At, Element, Reader, Xml, error_with};
use virt_util::{ErrorCode, Result};

/// The technology that protects guest memory from the host, and its settings.
#[derive(Xml, Clone, Debug, PartialEq, Eq)]
#[xml(name = "launchSecurity", union = "@type")]
pub enum LaunchSecurity {
    /// AMD SEV.
    Sev(Sev),
    /// AMD SEV-SNP.
    SevSnp(SevSnp),
    /// IBM Protected Virtualization.
    #[xml("s390-pv")]
    S390Pv,
}

/// AMD SEV.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sev {
    /// Whether kernel, initial RAM disk and command line are measured.
    #[xml("@kernelHashes")]
    pub kernel_hashes: Option<bool>,
    /// Place of the C bit.
    #[xml("cbitpos")]
    pub cbitpos: Option<u32>,
    /// Bits of physical addresses that are lost.
    #[xml("reducedPhysBits")]
    pub reduced_phys_bits: Option<u32>,
    /// Guest policy.
    #[xml("policy", format = "0x%04x", base = 16)]
    pub policy: u32,
    /// Diffie-Hellman certificate of the owner.
    #[xml("dhCert")]
    pub dh_cert: Option<String>,
    /// The guest owner's session data, in base64.
    #[xml("session")]
    pub session: Option<String>,
}

/// AMD SEV-SNP.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct SevSnp {
    /// Whether kernel, initial RAM disk and command line are measured.
    #[xml("@kernelHashes")]
    pub kernel_hashes: Option<bool>,
    /// Whether the identity block carries the author's key.
    #[xml("@authorKey")]
    pub author_key: Option<bool>,
    /// Whether reports are signed by the VCEK.
    #[xml("@vcek")]
    pub vcek: Option<bool>,
    /// Place of the C bit.
    #[xml("cbitpos")]
    pub cbitpos: Option<u32>,
    /// Bits of physical addresses that are lost.
    #[xml("reducedPhysBits")]
    pub reduced_phys_bits: Option<u32>,
    /// Guest policy.
    #[xml("policy", format = "0x%08x", base = 16)]
    pub policy: u64,
    /// Workarounds that the guest sees.
    #[xml("guestVisibleWorkarounds")]
    pub guest_visible_workarounds: Option<String>,
    /// Identity block.
    #[xml("idBlock")]
    pub id_block: Option<String>,
    /// Its signature.
    #[xml("idAuth")]
    pub id_auth: Option<String>,
    /// 32 bytes in base64 that the guest can read in its attestation.
    #[xml("hostData")]
    pub host_data: Option<String>,
}

/// Ciphers whose keys the host wraps for the guest (s390).
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "keywrap", check = KeyWrap::after_read)]
pub struct KeyWrap {
    /// Which kinds of keys may be wrapped.
    #[xml("cipher")]
    pub ciphers: Vec<KeyWrapCipher>,
}

impl KeyWrap {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let mut seen = Vec::new();
        for cipher in &self.ciphers {
            if seen.contains(&cipher.name) {
                cx.fail(error_with(
                    ErrorCode::INTERNAL_ERROR,
                    element,
                    At::Child("cipher"),
                    format_args!("the cipher {} is there twice", cipher.name),
                ))?;
            } else {
                seen.push(cipher.name);
            }
        }
        self.ciphers
            .sort_by_key(|cipher| cipher.name == KeyWrapCipherName::Dea);
        Ok(())
    }
}

/// A cipher.
#[derive(Xml, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[xml(name = "cipher")]
pub struct KeyWrapCipher {
    /// Which algorithm the keys are of.
    #[xml("@name")]
    pub name: KeyWrapCipherName,
    /// Whether its keys are wrapped.
    #[xml("@state", on_off)]
    pub state: bool,
}

xml_enum! {
    /// A cipher whose keys can be wrapped.
    pub enum KeyWrapCipherName { Aes = "aes", Dea = "dea" }
}
