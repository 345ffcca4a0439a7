//! The check of domains against their schema: what the VALIDATE flags of the API ask for.
//!
//! Parsing is more generous than the schema: it passes over what it does not know and takes numbers in any notation. A
//! definition that a user asks to have validated is held against [`schema::DOMAIN`].

use virt_util::Result;
use virt_util::xml::{Doc, shapes};

use crate::schema;

/// Refuses a document that the schema of domains does not allow.
///
/// # Errors
/// `XML_INVALID_SCHEMA` that names place, path and value of the first few faults.
pub fn check_schema(doc: &Doc<'_>) -> Result<()> {
    shapes::validate(doc.root(), &schema::DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_ranges_and_metadata_is_free() {
        const QEMU: &str = "xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'";
        for (part, allowed) in [
            ("<vcpu current='1'>2</vcpu>", true),
            ("<vcpu current='0'>2</vcpu>", false),
            (
                "<devices><filesystem fmode='0644' dmode='755'><source dir='/a'/><target dir='b'/></filesystem></devices>",
                true,
            ),
            (
                "<devices><filesystem fmode='0888'><source dir='/a'/><target dir='b'/></filesystem></devices>",
                false,
            ),
            ("<cputune><global_period>999</global_period></cputune>", false),
            ("<cputune><shares>0</shares><quota>-1</quota></cputune>", true),
            ("<blkiotune><weight>99</weight></blkiotune>", false),
            ("<sysinfo type='smbios'><bios/></sysinfo>", false),
            (
                "<sysinfo type='smbios'><bios><entry name='sku'>1</entry></bios></sysinfo>",
                false,
            ),
            (
                "<metadata><a xmlns='a:b'><cputune><period>1</period></cputune></a></metadata>",
                true,
            ),
            (
                "<launchSecurity type='sev'><policy>0x1</policy><handle>1</handle></launchSecurity>",
                true,
            ),
            (
                "<launchSecurity type='sev'><policy>0x1</policy><handle>a</handle></launchSecurity>",
                false,
            ),
            (
                "<devices><disk type='file'><source file='/a'><dataStore type='file'><format type='raw'><metadata_cache>\
                 <max_size>1</max_size></metadata_cache></format><source file='/b'/></dataStore></source>\
                 <target dev='vda'/></disk></devices>",
                true,
            ),
            (&format!("<q:deprecation {QEMU} behavior='omit'/>"), true),
            (&format!("<q:deprecation {QEMU} behavior='odd'/>"), false),
            (
                &format!("<q:capabilities {QEMU}><q:add/></q:capabilities>"),
                false,
            ),
        ] {
            let text = format!("<domain type='kvm'><name>a</name><os><type>hvm</type></os>{part}</domain>");
            let verdict = check_schema(&Doc::parse(&text).unwrap());
            assert_eq!(verdict.is_ok(), allowed, "{part}: {verdict:?}");
        }
    }
}
