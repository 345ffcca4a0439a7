//! The table of commands that change domains, and the small ones among them.

use crate::command::{Command, Opt};
use crate::complete;
use crate::grammar::Invocation;
use crate::output::object;
use crate::shell::{OrSay, Outcome, Shell};
use serde_json::Value;
use virt_api::Domain;
use virt_util::types::{DomainModificationImpact, DomainVcpuFlags, DomainXmlFlags};
use virt_util::{ErrorCode, VirtError};

use super::lifecycle::is_unsupported;
use super::{By, domain, domain_by, guest, lifecycle, metadata, processors, statistics, undefine};

const fn named(help: &'static str, complete: crate::command::Complete) -> Opt {
    Opt::text("domain", help)
        .required()
        .positional()
        .complete(complete)
}

const WHICH: &str = "name, ID or UUID of the domain";
const ANY: Opt = named(WHICH, complete::any_domain);
const ACTIVE: Opt = named(WHICH, complete::active_domain);
const FILE: Opt = Opt::text("file", "file with the domain's XML")
    .required()
    .positional()
    .complete(complete::file_option);
const CONSOLE: Opt = Opt::flag("console", "open the console then");
const PAUSED: Opt = Opt::flag("paused", "do not let the guest run yet");
const AUTODESTROY: Opt = Opt::flag("autodestroy", "destroy the guest when this connection ends");
const PASS_FDS: Opt = Opt::text("pass-fds", "give the guest the file descriptors N,M,...")
    .legacy_positional()
    .complete(complete::nothing);
const RESET_NVRAM: Opt = Opt::flag("reset-nvram", "make the NVRAM anew from its template");
const VALIDATE: Opt = Opt::flag("validate", "check the XML against the schema");

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("autostart", lifecycle::autostart, "start a domain with the host")
        .about("Makes a domain start with the host, or no longer.")
        .options(&[
            named(WHICH, complete::persistent_domain),
            Opt::flag("disable", "no longer"),
            Opt::flag("once", "at the next boot of the host only"),
        ]),
    Command::new("console", guest::console, "open the console of a guest")
        .about("Connects this terminal to the guest's serial console.")
        .options(&[
            ACTIVE,
            Opt::text("devname", "alias of the character device")
                .legacy_positional()
                .complete(complete::nothing),
            Opt::flag("force", "take the console from whoever has it"),
            Opt::flag("resume", "resume a paused guest once the console is open"),
            Opt::flag(
                "safe",
                "only if the driver can tell whether the console is in use",
            ),
        ]),
    statistics::CPU_STATS,
    Command::new("create", lifecycle::create, "start a domain from an XML file")
        .about("Starts a domain that has no stored definition.")
        .options(&[
            FILE,
            CONSOLE,
            PAUSED,
            AUTODESTROY,
            PASS_FDS,
            VALIDATE,
            RESET_NVRAM,
        ]),
    Command::new(
        "define",
        lifecycle::define,
        "store a domain's definition from an XML file",
    )
    .about("Stores the definition of a domain without starting it. A file whose name ends in .json, .yaml or .yml holds it in that notation.")
    .options(&[
        FILE,
        VALIDATE,
        Opt::flag(
            "dry-run",
            "only tell what would change, and when that would take effect",
        ),
    ]),
    Command::new(
        "desc",
        metadata::desc,
        "print or set a domain's description or title",
    )
    .about("Prints or sets the description or the title of a domain.")
    .options(&[
        ANY,
        Opt::flag("live", "of the running domain"),
        Opt::flag("config", "of the stored definition"),
        Opt::flag("current", "of the domain as it is now"),
        Opt::flag("title", "the title rather than the description"),
        Opt::flag("edit", "change it in an editor"),
        Opt::rest("new-desc", "the new text").positional(),
    ]),
    Command::new("destroy", lifecycle::destroy, "stop a domain at once")
        .about("Stops a domain without asking the guest. Its disks and its definition stay.")
        .options(&[
            ACTIVE,
            Opt::flag("graceful", "fail rather than kill what does not react"),
            Opt::flag("remove-logs", "remove the domain's logs"),
        ]),
    Command::new("domid", domid, "print the ID of a domain")
        .options(&[named("name or UUID of the domain", complete::active_domain)])
        .structured(),
    Command::new("domname", domname, "print the name of a domain")
        .options(&[named("ID or UUID of the domain", complete::domain_uuid)])
        .structured(),
    Command::new("domrename", domrename, "rename a domain")
        .about("Gives another name to a domain that is not active.")
        .options(&[
            named("name or UUID of the domain", complete::inactive_domain),
            Opt::text("new-name", "the new name")
                .required()
                .positional()
                .complete(complete::nothing),
        ]),
    Command::new("domuuid", domuuid, "print the UUID of a domain")
        .options(&[named("name or ID of the domain", complete::any_domain)])
        .structured(),
    Command::new("dumpxml", dumpxml, "print a domain's XML")
        .about("Prints the XML of a domain.")
        .options(&[
            ANY,
            Opt::flag("inactive", "the stored definition rather than the running domain"),
            Opt::flag("security-info", "with passwords and other secrets"),
            Opt::flag("update-cpu", "with the guest's CPU as this host makes it"),
            Opt::flag("migratable", "as another host can take it over"),
            Opt::text("xpath", "print only what this XPath expression selects").complete(complete::nothing),
            Opt::flag("wrap", "put what was selected into one root element"),
        ])
        .structured(),
    Command::new("edit", metadata::edit, "change a domain's XML in an editor")
        .about("Opens the stored definition of a domain in an editor and stores what was saved.")
        .options(&[
            ANY,
            Opt::flag("skip-validate", "do not check the XML against the schema"),
        ]),
    processors::EMULATORPIN,
    processors::IOTHREADADD,
    processors::IOTHREADDEL,
    processors::IOTHREADINFO,
    processors::IOTHREADPIN,
    processors::IOTHREADSET,
    Command::new(
        "metadata",
        metadata::metadata,
        "print or set a domain's own XML metadata",
    )
    .about("Prints or changes the element that a domain's metadata holds for a namespace.")
    .options(&[
        ANY,
        Opt::text("uri", "URI of the namespace").required().positional(),
        Opt::flag("live", "of the running domain"),
        Opt::flag("config", "of the stored definition"),
        Opt::flag("current", "of the domain as it is now"),
        Opt::flag("edit", "change it in an editor"),
        Opt::text("key", "prefix for the namespace").legacy_positional(),
        Opt::text("set", "the new element")
            .legacy_positional()
            .complete(complete::nothing),
        Opt::flag("remove", "remove what is there for the namespace"),
    ])
    .structured(),
    Command::new(
        "qemu-monitor-command",
        guest::qemu_monitor_command,
        "send a command to QEMU's monitor",
    )
    .about("Sends a command to the monitor of a QEMU guest. The guest may be left in a state nobody expects.")
    .options(&[
        ACTIVE,
        Opt::flag("hmp", "the command is in QEMU's human language"),
        Opt::flag("pretty", "print the answer in lines"),
        Opt::flag("return-value", "print only the answer's 'return' member"),
        Opt::text("pass-fds", "send the file descriptors N,M,... along").complete(complete::nothing),
        Opt::rest("cmd", "the command").required().positional(),
    ]),
    Command::new("reboot", lifecycle::reboot, "reboot a guest")
        .about("Asks the guest to reboot.")
        .options(&[ACTIVE, MODE]),
    Command::new("reset", lifecycle::reset, "reset a guest")
        .about("Resets the guest as the button on a machine does.")
        .options(&[ACTIVE]),
    Command::new("resume", lifecycle::resume, "let a paused guest run")
        .about("Lets a guest run that was suspended.")
        .options(&[named(WHICH, complete::paused_domain)]),
    statistics::SCHEDINFO,
    Command::new(
        "screenshot",
        guest::screenshot,
        "save a picture of a guest's screen",
    )
    .about("Saves a picture of the guest's screen in a file.")
    .options(&[
        ACTIVE,
        Opt::text("file", "where to save it")
            .legacy_positional()
            .complete(complete::file_option),
        Opt::number("screen", "which screen").legacy_positional(),
    ]),
    Command::new("send-key", guest::send_key, "press keys in a guest")
        .about("Presses keys, given by number or name, in the guest at the same time.")
        .options(&[
            ACTIVE,
            Opt::text("codeset", "the set of key codes, default: linux").complete(guest::complete_codeset),
            Opt::number("holdtime", "for how many milliseconds"),
            Opt::rest("keycode", "the keys")
                .required()
                .positional()
                .complete(guest::complete_keycode),
        ]),
    statistics::SETMAXMEM,
    processors::SETVCPUS,
    Command::new("shutdown", lifecycle::shutdown, "shut a guest down")
        .about("Asks the guest to shut down.")
        .options(&[ACTIVE, MODE]),
    Command::new("start", lifecycle::start, "start a domain that is defined")
        .about("Starts a domain: from its managed save image if there\n    is one, otherwise by booting it.")
        .options(&[
            named("name of the domain", complete::shutoff_domain),
            CONSOLE,
            PAUSED,
            AUTODESTROY,
            Opt::flag(
                "bypass-cache",
                "read the managed save image past the host's cache",
            ),
            Opt::flag(
                "force-boot",
                "boot even if there is a managed save image, which is removed",
            ),
            PASS_FDS,
            RESET_NVRAM,
        ]),
    Command::new("suspend", lifecycle::suspend, "pause a guest")
        .about("Pauses a running guest.")
        .options(&[named(WHICH, complete::running_domain)]),
    Command::new("undefine", undefine::undefine, "remove a domain's definition")
        .about("Removes the definition of a domain; a running domain runs on without one.")
        .options(undefine::OPTIONS),
    Command::new("vcpucount", vcpucount, "numbers of a domain's CPUs")
        .about("Prints how many virtual CPUs a domain has.")
        .options(&[
            ANY,
            Opt::flag("maximum", "how many it may have"),
            Opt::flag("active", "how many it uses"),
            Opt::flag("live", "in the running domain"),
            Opt::flag("config", "from the next boot on"),
            Opt::flag("current", "in the domain as it is now"),
            Opt::flag("guest", "ask the guest rather than the hypervisor"),
        ])
        .structured(),
    processors::VCPUPIN,
];

const MODE: Opt = Opt::text("mode", "how to ask: acpi|agent|initctl|signal|paravirt")
    .positional()
    .complete(complete::shutdown_modes);

fn domid(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain_by(shell, call, By::NAME_OR_UUID)?;
    if shell.structured(|| object([("id", domain.id().map_or(Value::Null, Value::from))]))? {
        return Ok(());
    }
    match domain.id() {
        Some(id) => shell.print(format!("{id}\n")),
        None => shell.print("-\n"),
    }
    Ok(())
}

fn domname(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain_by(shell, call, By::ID_OR_UUID)?;
    if !shell.structured(|| object([("name", domain.name().into())]))? {
        shell.print(format!("{}\n", domain.name()));
    }
    Ok(())
}

fn domuuid(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain_by(shell, call, By::ID_OR_NAME)?;
    if !shell.structured(|| object([("uuid", domain.uuid().to_string().into())]))? {
        shell.print(format!("{}\n", domain.uuid()));
    }
    Ok(())
}

fn domrename(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (domain, _) = domain(shell, call)?;
    domain.rename(call.required_text("new-name")?)?;
    shell.extra("Domain successfully renamed\n");
    Ok(())
}

fn dumpxml(shell: &mut Shell, call: &Invocation) -> Outcome {
    let mut flags = DomainXmlFlags::empty();
    for (option, flag) in [
        ("inactive", DomainXmlFlags::INACTIVE),
        ("security-info", DomainXmlFlags::SECURE),
        ("update-cpu", DomainXmlFlags::UPDATE_CPU),
        ("migratable", DomainXmlFlags::MIGRATABLE),
    ] {
        if call.has(option) {
            flags |= flag;
        }
    }
    let (domain, _) = domain(shell, call)?;
    let xml = domain.xml(flags)?;
    super::host::print_xml(shell, call, &xml)
}

const LIVE: u32 = DomainModificationImpact::LIVE.bits();
const CONFIG: u32 = DomainModificationImpact::CONFIG.bits();

fn vcpucount(shell: &mut Shell, call: &Invocation) -> Outcome {
    let (maximum, active) = (call.has("maximum"), call.has("active"));
    // "--current" once meant the number in use; beside the two words for what is counted it still means the state.
    let current = call.has("current") && (maximum || active);
    let all = !["maximum", "active", "current", "config", "live", "guest"]
        .iter()
        .any(|option| call.has(option));
    call.exclusive("live", "config")?;
    crate::opts::exclude("current", current, "live", call.has("live"))?;
    crate::opts::exclude("current", current, "config", call.has("config"))?;
    call.exclusive("active", "maximum")?;
    call.exclusive("guest", "config")?;

    let mut flags = 0;
    for (option, flag) in [
        ("live", LIVE),
        ("config", CONFIG),
        ("maximum", DomainVcpuFlags::MAXIMUM.bits()),
        ("guest", DomainVcpuFlags::GUEST.bits()),
    ] {
        if call.has(option) {
            flags |= flag;
        }
    }
    let (domain, _) = domain(shell, call)?;
    if !all {
        let count = count_vcpus(&domain, flags)?;
        if !shell.structured(|| object([("count", count.into())]))? {
            shell.print(format!("{count}\n"));
        }
        return Ok(());
    }
    let most = DomainVcpuFlags::MAXIMUM.bits();
    let (running, stored) = (
        domain.is_active().unwrap_or(false),
        domain.is_persistent().unwrap_or(false),
    );
    let mut lines = Vec::new();
    for (what, state, flags, there) in [
        ("maximum", "config", CONFIG | most, stored),
        ("maximum", "live", LIVE | most, running),
        ("current", "config", CONFIG, stored),
        ("current", "live", LIVE, running),
    ] {
        if there {
            lines.push((what, state, count_vcpus(&domain, flags)?));
        }
    }
    if shell.structured(|| {
        lines
            .iter()
            .map(|(what, state, count)| (format!("{what}-{state}"), Value::from(*count)))
            .collect()
    })? {
        return Ok(());
    }
    for (what, state, count) in lines.into_iter().filter(|(.., count)| *count > 0) {
        shell.print(format!("{what:<12} {state:<12} {count:>3}\n"));
    }
    Ok(())
}

fn count_vcpus(domain: &Domain, flags: u32) -> Result<i32, crate::shell::Failure> {
    let error = match domain.vcpus(flags.into()) {
        Ok(count) => return Ok(count),
        Err(error) => error,
    };
    if !is_unsupported(&error) {
        return Err(error.into());
    }
    if flags & DomainVcpuFlags::GUEST.bits() != 0 {
        return Err(error).or_say(|| "Failed to retrieve vCPU count from the guest");
    }
    // A driver that cannot tell numbers for each state still has the others.
    let running = flags & LIVE != 0 || (flags & (LIVE | CONFIG) == 0 && domain.is_active().unwrap_or(false));
    let most = flags & DomainVcpuFlags::MAXIMUM.bits() != 0;
    if running {
        return Ok(if most {
            domain.max_vcpus()?
        } else {
            i32::from(domain.info()?.virtual_cpus)
        });
    }
    let xml = domain.xml(DomainXmlFlags::INACTIVE)?;
    let (expression, what) = if most {
        ("string(/domain/vcpu)", "maximum")
    } else {
        ("string(/domain/vcpu/@current)", "current")
    };
    crate::xpath::text(&xml, expression)?
        .parse()
        .map_err(|_| {
            VirtError::new(
                ErrorCode::XML_ERROR,
                format_args!("the {what} number of vCPUs is missing"),
            )
        })
        .or_say(|| format!("Failed to retrieve {what} vcpu count"))
}
