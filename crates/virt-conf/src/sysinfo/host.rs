//! The host's own system information: what `dmidecode` and the files of `/proc` say.
//!
//! [`read_host`] asks a [`HostFacts`], which drivers implement with programs and files. The texts are read by libvirt's
//! rules, so that the same host has the same system information: a value is looked for behind its table's heading, to the
//! end of the text, and blanks around it do not count.

use virt_util::{Arch, Result, VirtError};

use super::{
    BaseBoardTable, BiosTable, ChassisTable, MemoryTable, OemStrings, ProcessorTable, Smbios, SystemTable,
};

/// The arguments of `dmidecode` that give the text for [`HostFacts::dmi_tables`].
pub const DMIDECODE_TABLES: &[&str] = &["-q", "-t", "0,1,2,3,4,11,17"];

/// The arguments of `dmidecode` before the number that give the text for [`HostFacts::oem_string`].
pub const DMIDECODE_OEM_STRING: &[&str] = &["--dump", "--oem-string"];

/// Where the texts come from.
pub trait HostFacts {
    /// What `dmidecode` prints with [`DMIDECODE_TABLES`].
    ///
    /// # Errors
    /// It cannot be run, or it fails.
    fn dmi_tables(&self) -> Result<String>;

    /// What `dmidecode` prints with [`DMIDECODE_OEM_STRING`] and the number of a string, with its messages.
    ///
    /// # Errors
    /// It cannot be run, or it fails.
    fn oem_string(&self, number: u32) -> Result<(String, String)>;

    /// A file of `/proc`: `cpuinfo`, `sysinfo`.
    ///
    /// # Errors
    /// It cannot be read.
    fn proc_file(&self, name: &str) -> Result<String>;
}

/// Reads the system information of a host of an architecture.
///
/// # Errors
/// What [`HostFacts`] gives; `INTERNAL_ERROR` for a text that makes no sense; `NO_SUPPORT` for an architecture without
/// system information.
pub fn read_host(arch: Arch, facts: &dyn HostFacts) -> Result<Smbios> {
    let name = arch.name();
    if name.starts_with("ppc") {
        return Ok(read_ppc(&facts.proc_file("cpuinfo")?));
    }
    if name.starts_with("s390") {
        return read_s390(&facts.proc_file("cpuinfo")?, &facts.proc_file("sysinfo")?);
    }
    let tables = || read_dmi(&facts.dmi_tables()?, facts);
    if name.starts_with("arm") || name == "aarch64" {
        // Some machines have tables, all have a file.
        return match tables() {
            Ok(found) if found != Smbios::default() => Ok(found),
            _ => Ok(read_arm(&facts.proc_file("cpuinfo")?)),
        };
    }
    let has_tables = ["x86_64", "i686", "riscv", "mips", "loongarch"];
    if has_tables.iter().any(|known| name.starts_with(known)) {
        return tables();
    }
    Err(VirtError::no_support(format_args!(
        "hosts of architecture '{name}' have no system information"
    )))
}

/// The text from `heading` on.
fn from<'t>(text: &'t str, heading: &str) -> Option<&'t str> {
    text.get(text.find(heading)?..)
}

/// The text behind `label`.
fn behind<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    from(text, label)?.get(label.len()..)
}

/// The value behind the first `label` on the rest of its line; none if it is empty.
fn value(text: &str, label: &str) -> Option<String> {
    let line = behind(text, label)?;
    let line = line
        .split_once('\n')
        .map_or(line, |(line, _)| line)
        .trim_ascii_end();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The parts of the text that begin behind each `heading`; each reaches to the end of the text.
fn sections<'t>(text: &'t str, heading: &'static str) -> impl Iterator<Item = &'t str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = behind(rest, heading)?;
        Some(rest)
    })
}

/// A table with what is said in it; none if nothing is.
fn said<T: Default + PartialEq>(table: T) -> Option<T> {
    (table != T::default()).then_some(table)
}

/// Reads what `dmidecode` prints.
///
/// # Errors
/// `INTERNAL_ERROR` for OEM strings that make no sense, and what asking for one gives.
pub fn read_dmi(text: &str, facts: &dyn HostFacts) -> Result<Smbios> {
    let bios = from(text, "BIOS Information").map(|text| BiosTable {
        vendor: value(text, "Vendor: "),
        version: value(text, "Version: "),
        date: value(text, "Release Date: "),
        release: value(text, "BIOS Revision: "),
    });
    let system = from(text, "System Information").map(|text| SystemTable {
        manufacturer: value(text, "Manufacturer: "),
        product: value(text, "Product Name: "),
        version: value(text, "Version: "),
        serial: value(text, "Serial Number: "),
        uuid: value(text, "UUID: "),
        sku: value(text, "SKU Number: "),
        family: value(text, "Family: "),
    });
    let base_boards = sections(text, "Base Board Information").map(|text| BaseBoardTable {
        manufacturer: value(text, "Manufacturer: "),
        product: value(text, "Product Name: "),
        version: value(text, "Version: "),
        serial: value(text, "Serial Number: "),
        asset: value(text, "Asset Tag: "),
        location: value(text, "Location In Chassis: "),
    });
    let chassis = from(text, "Chassis Information").map(|text| ChassisTable {
        manufacturer: value(text, "Manufacturer: "),
        version: value(text, "Version: "),
        serial: value(text, "Serial Number: "),
        asset: value(text, "Asset Tag: "),
        sku: value(text, "SKU Number: "),
    });
    Ok(Smbios {
        bios: bios.and_then(said),
        system: system.and_then(said),
        base_boards: base_boards.filter_map(said).collect(),
        chassis: chassis.and_then(said),
        processors: sections(text, "Processor Information")
            .map(dmi_processor)
            .filter_map(said)
            .collect(),
        memory: sections(text, "Memory Device")
            .map(dmi_memory)
            .filter_map(said)
            .collect(),
        oem_strings: from(text, "OEM Strings")
            .map(|text| oem_strings(text, facts))
            .transpose()?,
    })
}

fn dmi_processor(text: &str) -> ProcessorTable {
    ProcessorTable {
        socket_destination: value(text, "Socket Designation: "),
        kind: value(text, "Type: "),
        family: value(text, "Family: "),
        manufacturer: value(text, "Manufacturer: "),
        signature: value(text, "Signature: "),
        version: value(text, "Version: "),
        external_clock: value(text, "External Clock: "),
        max_speed: value(text, "Max Speed: "),
        status: value(text, "Status: "),
        serial_number: value(text, "Serial Number: "),
        part_number: value(text, "Part Number: "),
    }
}

/// A memory module; nothing for an empty slot.
fn dmi_memory(text: &str) -> MemoryTable {
    let empty = behind(text, "Size: ").is_some_and(|size| size.starts_with("No Module Installed\n"));
    if empty {
        return MemoryTable::default();
    }
    MemoryTable {
        size: value(text, "Size: "),
        form_factor: value(text, "Form Factor: "),
        locator: value(text, "Locator: "),
        bank_locator: value(text, "Bank Locator: "),
        kind: value(text, "Type: "),
        type_detail: value(text, "Type Detail: "),
        speed: value(text, "Speed: "),
        manufacturer: value(text, "Manufacturer: "),
        serial_number: value(text, "Serial Number: "),
        part_number: value(text, "Part Number: "),
    }
}

/// `String 1: text` and so on. `dmidecode` prints a dot for what it cannot print, so strings with dots are asked for.
fn oem_strings(text: &str, facts: &dyn HostFacts) -> Result<OemStrings> {
    let wrong = || VirtError::internal("dmidecode printed OEM strings that make no sense");
    let mut strings = OemStrings::default();
    let mut rest = text;
    while let Some(string) = behind(rest, "String ") {
        let (line, after) = string.split_once('\n').ok_or_else(wrong)?;
        rest = after;
        let (number, string) = line.split_once(':').ok_or_else(wrong)?;
        let number: u32 = number.trim_ascii_start().parse().map_err(|_| wrong())?;
        let string = string.get(1..).unwrap_or_default().trim_ascii_end();
        if string.is_empty() {
            continue;
        }
        if !string.contains('.') {
            strings.entries.push(string.to_owned());
            continue;
        }
        let (output, messages) = facts.oem_string(number)?;
        if output.is_empty() && !messages.is_empty() {
            return Err(VirtError::internal(format_args!(
                "dmidecode gives no OEM string {number}: {}",
                messages.trim_end()
            )));
        }
        strings
            .entries
            .push(output.strip_suffix('\n').unwrap_or(&output).to_owned());
    }
    Ok(strings)
}

/// The value of a line `name : value`, and the text behind the line's colon.
fn line<'t>(text: &'t str, name: &str) -> Option<(Option<String>, &'t str)> {
    let (_, rest) = from(text, name)?.split_once(':')?;
    let value = rest
        .split_once('\n')
        .map(|(line, _)| line.trim_ascii_start().to_owned());
    Some((value.filter(|value| !value.is_empty()), rest))
}

fn platform(cpuinfo: &str) -> Option<SystemTable> {
    let text = from(cpuinfo, "platform")?;
    let value = |name| line(text, name).and_then(|(value, _)| value);
    said(SystemTable {
        family: value("platform"),
        serial: value("model"),
        version: value("machine"),
        ..SystemTable::default()
    })
}

/// Reads `/proc/cpuinfo` of a PowerPC host.
pub fn read_ppc(cpuinfo: &str) -> Smbios {
    let mut processors = Vec::new();
    let mut rest = cpuinfo;
    while let Some((number, after)) = line(rest, "processor") {
        rest = after;
        let mut processor = ProcessorTable {
            socket_destination: number,
            ..ProcessorTable::default()
        };
        if let Some((kind, after)) = line(rest, "cpu") {
            (processor.kind, rest) = (kind, after);
        }
        if let Some((version, after)) = line(rest, "revision") {
            (processor.version, rest) = (version, after);
        }
        processors.extend(said(processor));
    }
    Smbios {
        system: platform(cpuinfo),
        processors,
        ..Smbios::default()
    }
}

/// Reads `/proc/cpuinfo` of an ARM host.
pub fn read_arm(cpuinfo: &str) -> Smbios {
    let mut processors = Vec::new();
    if let Some((kind, _)) = line(cpuinfo, "model name").or_else(|| line(cpuinfo, "Processor")) {
        let mut rest = cpuinfo;
        while let Some((number, after)) = line(rest, "processor") {
            rest = after;
            processors.extend(said(ProcessorTable {
                socket_destination: number,
                kind: kind.clone(),
                ..ProcessorTable::default()
            }));
        }
    }
    Smbios {
        system: platform(cpuinfo),
        processors,
        ..Smbios::default()
    }
}

/// The text between the first `begin` behind `name` and the next `end`, without blanks around it, and what follows.
fn delimited<'t>(text: &'t str, name: &str, begin: char, end: char) -> Option<(String, &'t str)> {
    let (_, found) = from(text, name)?.split_once(begin)?;
    let cut = found.find(end).unwrap_or(found.len());
    let (value, rest) = found.split_at_checked(cut)?;
    Some((value.trim_ascii().to_owned(), rest))
}

/// Reads `/proc/cpuinfo` and `/proc/sysinfo` of an s390 host.
///
/// # Errors
/// `INTERNAL_ERROR` if what each such host says is missing.
pub fn read_s390(cpuinfo: &str, sysinfo: &str) -> Result<Smbios> {
    let missing =
        |file: &str, what: &str| VirtError::internal(format_args!("'/proc/{file}' says no '{what}'"));
    let of_cpu = |what: &'static str| move || missing("cpuinfo", what);
    let (manufacturer, mut rest) =
        delimited(cpuinfo, "vendor_id", ':', '\n').ok_or_else(of_cpu("vendor_id"))?;
    let mut processors = Vec::new();
    while let Some((processor, after)) = delimited(rest, "processor ", ':', '\n') {
        rest = after;
        let part = |name: &'static str, end| {
            delimited(&processor, name, '=', end)
                .map(|(value, _)| value)
                .ok_or_else(of_cpu(name))
        };
        processors.push(ProcessorTable {
            manufacturer: Some(manufacturer.clone()),
            version: Some(part("version", ',')?),
            serial_number: Some(part("identification", ',')?),
            family: Some(part("machine", '\n')?),
            ..ProcessorTable::default()
        });
    }
    let mut rest = cpuinfo;
    while let Some((number, after)) = delimited(rest, "cpu number", ':', '\n') {
        let number: usize = number.parse().map_err(|_| missing("cpuinfo", "cpu number"))?;
        let Some(processor) = processors.get_mut(number) else {
            break;
        };
        let Some((speed, _)) = delimited(after, "cpu MHz static", ':', '\n') else {
            break;
        };
        processor.max_speed = Some(speed);
        rest = after;
    }
    let part = |name: &str| {
        let found = delimited(sysinfo, name, ':', '\n');
        found
            .map(|(value, _)| value)
            .ok_or_else(|| missing("sysinfo", name))
    };
    Ok(Smbios {
        system: said(SystemTable {
            manufacturer: Some(part("Manufacturer")?),
            family: Some(part("Type")?),
            serial: Some(part("Sequence Code")?),
            ..SystemTable::default()
        }),
        processors,
        ..Smbios::default()
    })
}

impl Smbios {
    /// The document of a host's system information.
    pub fn format(&self) -> String {
        use virt_util::xml::{self, XmlFlags};
        xml::to_string(&super::Sysinfo::Smbios(Box::new(self.clone())), XmlFlags::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct NoFacts;

    impl HostFacts for NoFacts {
        fn dmi_tables(&self) -> Result<String> {
            Err(VirtError::internal("no dmidecode"))
        }

        fn oem_string(&self, number: u32) -> Result<(String, String)> {
            Ok((format!("line {number}\nanother\n"), String::new()))
        }

        fn proc_file(&self, name: &str) -> Result<String> {
            Ok(format!("processor : 0\nmodel name : {name}\n"))
        }
    }

    #[test]
    fn values_end_at_the_line_without_blanks() {
        let text = "BIOS Information\n\tVendor: A B  \n\tVersion:   \n\nSystem Information\n\tUUID: x\n\
            OEM Strings\n\tString 1: plain\n\tString 2: a.b\n\nMemory Device\n\tSize: No Module Installed\n\tType: x\n";
        let found = read_dmi(text, &NoFacts).unwrap();
        assert_eq!(found.bios.unwrap().vendor.as_deref(), Some("A B"));
        assert_eq!(found.system.unwrap().uuid.as_deref(), Some("x"));
        assert_eq!(found.oem_strings.unwrap().entries, ["plain", "line 2\nanother"]);
        assert_eq!(found.memory, []);
        assert!(read_dmi("OEM Strings\n\tString one: x\n", &NoFacts).is_err());
    }

    #[test]
    fn hosts_without_tables_have_a_file() {
        let arm = read_host(Arch::from_name("aarch64").unwrap(), &NoFacts).unwrap();
        assert_eq!(arm.processors[0].kind.as_deref(), Some("cpuinfo"));
        assert!(read_host(Arch::from_name("x86_64").unwrap(), &NoFacts).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(BIOS Information|String |Memory Device|Size: |processor|:|=|,|\\n|\\PC){0,60}") {
            let _ = read_dmi(&text, &NoFacts);
            read_ppc(&text);
            read_arm(&text);
            let _ = read_s390(&text, &text);
        }
    }
}
