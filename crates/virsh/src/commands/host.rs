//! Commands about the host and the hypervisor.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::output::object;
use crate::program::LIBVIRT_VERSION;
use crate::shell::{OrSay, Outcome, Shell};
use crate::xpath;
use serde_json::{Map, Value};
use virt_util::ErrorCode;
use virt_util::types::ConnectGetDomainCapabilitiesFlags;

const XPATH: Opt =
    Opt::text("xpath", "print only what this XPath expression selects").complete(complete::nothing);
const WRAP: Opt = Opt::flag("wrap", "put what was selected into one root element");

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("capabilities", capabilities, "what host and hypervisor can do")
        .about("Prints what the host and the hypervisor's driver can do, as XML.")
        .options(&[XPATH, WRAP])
        .structured(),
    Command::new("domcapabilities", domain_capabilities, "what an emulator can do")
        .about("Prints what an emulator can do on this host, as XML.")
        .options(&[
            Opt::text("virttype", "kind of virtualization (/domain/@type)")
                .legacy_positional()
                .complete(virt_types),
            Opt::text("emulatorbin", "path of the emulator (/domain/devices/emulator)").legacy_positional(),
            Opt::text("arch", "architecture of the guest (/domain/os/type/@arch)")
                .legacy_positional()
                .complete(arches),
            Opt::text("machine", "machine type (/domain/os/type/@machine)").legacy_positional(),
            XPATH,
            WRAP,
            Opt::flag(
                "disable-deprecated-features",
                "show the host's CPU model without deprecated features",
            ),
        ])
        .structured(),
    super::drivers::LIST,
    super::drivers::CHECK,
    Command::new("hostname", hostname, "print the hypervisor's host name").structured(),
    Command::new("nodeinfo", nodeinfo, "basic facts about the host")
        .about("Prints the basic facts about the host.")
        .structured(),
    Command::new("uri", uri, "print the canonical URI of the connection").structured(),
    Command::new("version", version, "print versions")
        .about("Prints the versions of the program, the library, the interface and the hypervisor.")
        .options(&[Opt::flag("daemon", "the daemon's version as well")])
        .structured(),
];

fn virt_types(_: &mut Shell, _: &Invocation) -> Vec<String> {
    [
        "none",
        "qemu",
        "kvm",
        "xen",
        "lxc",
        "uml",
        "openvz",
        "test",
        "vmware",
        "hyperv",
        "vbox",
        "phyp",
        "parallels",
        "bhyve",
        "vz",
        "hvf",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn arches(_: &mut Shell, _: &Invocation) -> Vec<String> {
    [
        "alpha",
        "armv6l",
        "armv7l",
        "armv7b",
        "aarch64",
        "cris",
        "i686",
        "ia64",
        "lm32",
        "loongarch64",
        "m68k",
        "microblaze",
        "microblazeel",
        "mips",
        "mipsel",
        "mips64",
        "mips64el",
        "openrisc",
        "parisc",
        "parisc64",
        "ppc",
        "ppc64",
        "ppc64le",
        "ppcemb",
        "riscv32",
        "riscv64",
        "s390",
        "s390x",
        "sh4",
        "sh4eb",
        "sparc",
        "sparc64",
        "unicore32",
        "x86_64",
        "xtensa",
        "xtensaeb",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Prints a document, or what `--xpath` selects of it.
pub(crate) fn print_xml(shell: &mut Shell, call: &Invocation, xml: &str) -> Outcome {
    let expression = match call.option_value("xpath") {
        // An empty expression fails without a word, as it does in libvirt's virsh.
        Some((_, "")) => return Err(crate::shell::Failure::silent()),
        Some((_, expression)) => Some(expression),
        None => None,
    };
    if let Some(format) = shell.format() {
        let fields = match expression {
            None => format.document(xml),
            Some(_) => None,
        };
        let text = match fields {
            Some(text) => text,
            None => format.render(&xpath::to_value(xml, expression)?)?,
        };
        shell.print(text);
        return Ok(());
    }
    let Some(expression) = expression else {
        shell.print(xml);
        return Ok(());
    };
    let selected = xpath::select(xml, expression, call.has("wrap"))?;
    shell.print(selected);
    Ok(())
}

fn capabilities(shell: &mut Shell, call: &Invocation) -> Outcome {
    let xml = shell
        .connection()?
        .capabilities()
        .or_say(|| "failed to get capabilities")?;
    print_xml(shell, call, &xml)
}

fn domain_capabilities(shell: &mut Shell, call: &Invocation) -> Outcome {
    let mut flags = ConnectGetDomainCapabilitiesFlags::empty();
    if call.has("disable-deprecated-features") {
        flags |= ConnectGetDomainCapabilitiesFlags::DISABLE_DEPRECATED_FEATURES;
    }
    let virt_type = call.text("virttype")?;
    let emulator = call.text("emulatorbin")?;
    let arch = call.text("arch")?;
    let machine = call.text("machine")?;
    let xml = shell
        .connection()?
        .domain_capabilities(emulator, arch, machine, virt_type, flags)
        .or_say(|| "failed to get emulator capabilities")?;
    print_xml(shell, call, &xml)
}

fn hostname(shell: &mut Shell, _: &Invocation) -> Outcome {
    let name = shell
        .connection()?
        .hostname()
        .or_say(|| "failed to get hostname")?;
    if !shell.structured(|| object([("hostname", name.as_str().into())]))? {
        shell.print(format!("{name}\n"));
    }
    Ok(())
}

fn uri(shell: &mut Shell, _: &Invocation) -> Outcome {
    let uri = shell.connection()?.uri().or_say(|| "failed to get URI")?;
    if !shell.structured(|| object([("uri", uri.as_str().into())]))? {
        shell.print(format!("{uri}\n"));
    }
    Ok(())
}

fn nodeinfo(shell: &mut Shell, _: &Invocation) -> Outcome {
    let info = shell
        .connection()?
        .node_info()
        .or_say(|| "failed to get node information")?;
    if shell.structured(|| {
        object([
            ("model", info.model.as_str().into()),
            ("cpus", info.cpus.into()),
            ("mhz", info.mhz.into()),
            ("sockets", info.sockets.into()),
            ("cores-per-socket", info.cores.into()),
            ("threads-per-core", info.threads.into()),
            ("numa-cells", info.nodes.into()),
            ("memory-kib", info.memory.into()),
        ])
    })? {
        return Ok(());
    }
    let mut line = |label: &str, value: String| shell.print(format!("{label:<20} {value}\n"));
    line("CPU model:", info.model.clone());
    line("CPU(s):", info.cpus.to_string());
    if info.mhz != 0 {
        line("CPU frequency:", format!("{} MHz", info.mhz));
    }
    line("CPU socket(s):", info.sockets.to_string());
    line("Core(s) per socket:", info.cores.to_string());
    line("Thread(s) per core:", info.threads.to_string());
    line("NUMA cell(s):", info.nodes.to_string());
    line("Memory size:", format!("{} KiB", info.memory));
    Ok(())
}

/// libvirt packs versions as `major * 1000000 + minor * 1000 + release`.
fn dotted(version: u64) -> String {
    format!(
        "{}.{}.{}",
        version / 1_000_000,
        version / 1000 % 1000,
        version % 1000
    )
}

fn version(shell: &mut Shell, call: &Invocation) -> Outcome {
    let connection = shell.connection()?;
    let kind = connection
        .hypervisor_type()
        .or_say(|| "failed to get hypervisor type")?;
    let mut facts: Map<String, Value> = Map::new();
    let mut text = format!(
        "Compiled against library: libvirt {LIBVIRT_VERSION}\n\
         Using library: libvirt {LIBVIRT_VERSION}\n\
         Using API: {kind} {LIBVIRT_VERSION}\n"
    );
    facts.insert("library".into(), LIBVIRT_VERSION.into());
    facts.insert("ferrovirt".into(), env!("CARGO_PKG_VERSION").into());
    facts.insert("hypervisor-type".into(), kind.as_str().into());
    let running = connection.hypervisor_version();
    let outcome = match running {
        Err(error) if error.code() == ErrorCode::NO_SUPPORT => Ok(()),
        Err(error) => Err(error).or_say(|| "failed to get the hypervisor version"),
        Ok(0) => {
            text.push_str(&format!("Cannot extract running {kind} hypervisor version\n"));
            Ok(())
        }
        Ok(version) => {
            let version = dotted(version);
            text.push_str(&format!("Running hypervisor: {kind} {version}\n"));
            facts.insert("hypervisor".into(), version.into());
            Ok(())
        }
    };
    let mut daemon_failed = None;
    if call.has("daemon") && outcome.is_ok() {
        match connection.lib_version() {
            Ok(version) => {
                let version = dotted(version);
                text.push_str(&format!("Running against daemon: {version}\n"));
                facts.insert("daemon".into(), version.into());
            }
            Err(_) => daemon_failed = Some("failed to get the daemon version"),
        }
    }
    if !shell.structured(|| Value::Object(facts))? {
        shell.print(text);
    }
    if let Some(problem) = daemon_failed {
        shell.error(problem);
    }
    outcome
}
