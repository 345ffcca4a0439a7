//! The same questions about this host's CPU to libvirt's QEMU driver and to ours: same answers, same error codes, same
//! documents.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod common;

use std::process::Command;

use common::Root;
use virt_api::plugin::{DriverHandle, Entry as _, OpenRequest};
use virt_api::protocol::clients::RemoteClient;
use virt_api::testkit::FakeHost;
use virt_driver_qemu::PluginEntry;

/// Answers each argument: a verb, flags, and documents behind tabs.
const LIBVIRT: &str = r#"
import sys, libvirt, threading
libvirt.registerErrorHandler(lambda *rest: None, None)
libvirt.virEventRegisterDefaultImpl()
def run():
    while True: libvirt.virEventRunDefaultImpl()
threading.Thread(target=run, daemon=True).start()
conn = libvirt.open('qemu:///embed?root=' + sys.argv[1])
def call(line):
    verb, flags, rest = line.split('\t', 2)
    flags, rest = int(flags), rest.split('\t')
    if verb == 'host': return conn.getCapabilities().split('<cpu>')[1].split('</cpu>')[0]
    if verb == 'memory': return conn.getCapabilities().split('<topology>')[1].split('<secmodel>')[0]
    if verb == 'guests': return conn.getCapabilities().split('</host>')[1]
    if verb == 'domain': return conn.getDomainCapabilities(None, 'x86_64', rest[1], rest[0], flags)
    if verb == 'names': return ' '.join(conn.getCPUModelNames(rest[0], flags))
    if verb == 'compare': return conn.compareCPU(rest[0], flags)
    if verb == 'compare-hypervisor': return conn.compareHypervisorCPU(None, None, None, rest[0], rest[1], flags)
    if verb == 'baseline': return conn.baselineCPU(rest, flags)
    if verb == 'baseline-hypervisor': return conn.baselineHypervisorCPU(None, None, None, rest[0], rest[1:], flags)
for line in sys.argv[2:]:
    try: answer = str(call(line))
    except libvirt.libvirtError as error: answer = 'error %d' % error.get_error_code()
    print(answer.replace('\n', '\x1f'))
"#;

const HASWELL: &str = "<cpu><arch>x86_64</arch><model>Haswell-noTSX</model><vendor>Intel</vendor>\
     <feature name='vmx'/><feature name='invtsc'/><feature name='osxsave'/></cpu>";
const SKYLAKE: &str = "<cpu><arch>x86_64</arch><model>Skylake-Client-IBRS</model><vendor>Intel</vendor>\
     <feature name='invtsc'/><feature name='osxsave'/><feature name='avx512f'/></cpu>";
const ROME: &str = "<cpu><arch>x86_64</arch><model>EPYC-Rome</model><vendor>AMD</vendor></cpu>";
const PLAIN: &str = "<cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>";
const OLD: &str = "<cpu><model>486</model></cpu>";
const PICKED: &str = "<cpu><model>kvm64</model><feature policy='disable' name='pni'/>\
     <feature policy='require' name='x2apic'/><feature policy='optional' name='avx512f'/></cpu>";
const STRICT: &str = "<cpu match='strict'><model>kvm64</model></cpu>";
const UNKNOWN: &str = "<cpu><model>Unheard-of</model></cpu>";
const ODD: &str = "<cpu><model>qemu64</model><feature policy='require' name='unheard-of'/></cpu>";
const POWER: &str = "<cpu><arch>ppc64</arch><model>POWER9</model><vendor>IBM</vendor></cpu>";
const EXTRA: &str = "<cpu><model>qemu64</model><unheard-of/></cpu>";
const LIMITED: &str = "<cpu><model>Nehalem</model><maxphysaddr mode='passthrough' limit='40'/></cpu>";

fn calls() -> Vec<String> {
    let mut calls: Vec<String> = ["host", "memory", "guests"]
        .iter()
        .map(|verb| format!("{verb}\t0\t"))
        .collect();
    for virt in ["kvm", "qemu"] {
        for machine in ["pc", "q35", "no-such"] {
            calls.push(format!("domain\t0\t{virt}\t{machine}"));
        }
        calls.push(format!("domain\t1\t{virt}\tpc"));
    }
    for arch in [
        "x86_64", "i686", "ppc64", "aarch64", "s390x", "riscv64", "sparc", "no-such",
    ] {
        calls.push(format!("names\t0\t{arch}"));
    }
    let one = [
        HASWELL, SKYLAKE, ROME, PLAIN, OLD, PICKED, STRICT, UNKNOWN, ODD, POWER, EXTRA, LIMITED, "<cpu/>",
        "<pool/>", "<cpu>",
    ];
    for document in one {
        for flags in [0, 1, 2] {
            calls.push(format!("compare\t{flags}\t{document}"));
            for virt in ["kvm", "qemu"] {
                calls.push(format!("compare-hypervisor\t{flags}\t{virt}\t{document}"));
            }
        }
        calls.push(format!("baseline\t0\t{document}"));
        for virt in ["kvm", "qemu"] {
            for flags in 0..4 {
                calls.push(format!("baseline-hypervisor\t{flags}\t{virt}\t{document}"));
            }
        }
    }
    let pairs = [
        [HASWELL, SKYLAKE],
        [SKYLAKE, HASWELL],
        [HASWELL, ROME],
        [ROME, POWER],
        [POWER, POWER],
        [LIMITED, PICKED],
        [LIMITED, LIMITED],
    ];
    for [a, b] in pairs {
        for flags in 0..4 {
            calls.push(format!("baseline\t{flags}\t{a}\t{b}"));
            for virt in ["kvm", "qemu"] {
                calls.push(format!("baseline-hypervisor\t{flags}\t{virt}\t{a}\t{b}"));
            }
        }
    }
    calls
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or(rest, |(part, _)| part)
}

fn call(client: &RemoteClient<'_>, line: &str) -> virt_api::Result<String> {
    let words: Vec<&str> = line.split('\t').collect();
    let [verb, flags, rest @ ..] = words.as_slice() else {
        unreachable!("a call has a verb and flags")
    };
    let flags: u32 = flags.parse().unwrap();
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let capabilities = || Ok::<_, virt_util::VirtError>(client.connect_get_capabilities()?.capabilities);
    Ok(match *verb {
        "host" => between(&capabilities()?, "<cpu>", "</cpu>").to_owned(),
        "memory" => between(&capabilities()?, "<topology>", "<secmodel>").to_owned(),
        "guests" => between(&capabilities()?, "</host>", "no such text").to_owned(),
        "domain" => {
            client
                .connect_get_domain_capabilities(None, Some("x86_64"), Some(rest[1]), Some(rest[0]), flags)?
                .capabilities
        }
        "names" => client
            .connect_get_cpu_model_names(rest[0], 1, flags)?
            .models
            .join(" "),
        "compare" => client.connect_compare_cpu(rest[0], flags)?.result.to_string(),
        "compare-hypervisor" => client
            .connect_compare_hypervisor_cpu(None, None, None, Some(rest[0]), rest[1], flags)?
            .result
            .to_string(),
        "baseline" => client.connect_baseline_cpu(&owned(rest), flags)?.cpu,
        "baseline-hypervisor" => {
            client
                .connect_baseline_hypervisor_cpu(None, None, None, Some(rest[0]), &owned(&rest[1..]), flags)?
                .cpu
        }
        other => unreachable!("{other}"),
    })
}

#[test]
fn answers_are_libvirts() {
    virt_api::need!(package "python3-libvirt");
    virt_api::need!(package "qemu-system-x86");
    virt_api::need!(kvm);
    let theirs = Root::new();
    let calls = calls();
    let output = Command::new("/usr/bin/python3")
        .args(["-c", LIBVIRT])
        .arg(theirs.path())
        .args(&calls)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = text.lines().collect();
    assert_eq!(
        answers.len(),
        calls.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let root = Root::new();
    let driver = DriverHandle::builtin("qemu", PluginEntry::create, FakeHost::new()).unwrap();
    let connection = driver
        .open(&OpenRequest {
            uri: format!("qemu:///embed?root={}", root.path().display()),
            ..OpenRequest::default()
        })
        .unwrap();
    let client = RemoteClient::new(&connection);
    let mut different = Vec::new();
    let mut refused = 0;
    for (line, answer) in calls.iter().zip(answers) {
        let ours = match call(&client, line) {
            Ok(text) => text.replace('\n', "\x1f"),
            Err(error) => format!("error {}", error.code().0),
        };
        refused += usize::from(answer.starts_with("error "));
        if ours != answer {
            different
                .push(format!("{line}\n  libvirt: {answer}\n  ours:    {ours}").replace('\x1f', "\n    "));
        }
    }
    println!("{} calls, {refused} of them refused by both", calls.len());
    assert!(refused < calls.len() / 2, "libvirt answers nearly nothing here");
    assert!(
        different.is_empty(),
        "{} of {} calls differ:\n{}",
        different.len(),
        calls.len(),
        different.join("\n")
    );
}
