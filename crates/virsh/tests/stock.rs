//! The same command lines through libvirt's virsh and through ours: what is printed and the exit status must be equal.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot run its programs has failed"
)]

use std::process::{Command, Stdio};
use virt_api::need;
use virt_api::testkit::plugins;

/// Command lines that need no connection, as separate words.
const OFFLINE: &[&[&str]] = &[
    &["-v"],
    &["--version=short"],
    &["-x"],
    &["--nonsense"],
    &["-c"],
    &["-d", "x"],
    &["--debug", "x"],
    &["-d", "7", "echo", "a"],
    &["-e", "xx", "echo"],
    &["-k", "a", "echo"],
    &["-k", "-1", "echo"],
    &["nonsense"],
    &["echo", "--shell", "it's", "a b", ""],
    &["echo", "--xml", "a<b&c\"d'e"],
    &["echo --split a,b,,c,"],
    &["echo --prefix x y; echo --prefix= y"],
    &["echo --err hi"],
    &["echo a; nonsense; echo b"],
    &["echo 'a'; echo \"b"],
    &["help nonsense"],
    &["help --nonsense nothing"],
    &["cd /nonexistent"],
    &["cd /; pwd"],
    &["-q", "echo", "a"],
    &["quit"],
    &["domstate"],
    &["list --all=1"],
    &["list list"],
];

/// Lines for `test:///default`, which every run finds as it was made.
const DEFAULT: &[&str] = &[
    "uri; version; hostname; nodeinfo",
    "version --daemon",
    "list; list --all; list --inactive",
    "list --uuid; list --name --uuid; list --id; list --name",
    "list --all --managed-save; list --state-paused; list --transient; list --with-snapshot",
    "list --table --name",
    "domstate test; domstate test --reason; domcontrol test",
    "emulatorpin test; emulatorpin test 0-1; emulatorpin test; emulatorpin test 99",
    "vcpupin test; vcpupin test 0; vcpupin test 0 1; vcpupin test; vcpupin test 9 1; vcpupin test --cpulist 1",
    "cpu-stats test 0 1; cpu-stats test --start -1; cpu-stats test x",
    "iothreadset test 1 --poll-max-ns x; iothreadset test 1 5 3 2; iothreadset test 1",
    "domid test; domid 1; domname 1; domname test; domuuid 1; domuuid test",
    "domuuid 6695eb01-f6a4-8304-79aa-97f2502e193f; domname 6695eb01-f6a4-8304-79aa-97f2502e193f",
    "vcpucount test; vcpucount test --maximum; vcpucount test --current; vcpucount test --maximum --config",
    "vcpucount test --live --config",
    "vcpucount test --active --live",
    "dommemstat test --period x",
    "dommemstat test --period -1",
    "start test",
    "start nope",
    "shutdown test; list --all",
    "shutdown test --mode foo",
    "reboot test --mode foo",
    "destroy test; list --all; start test; list",
    "suspend test; suspend test; domstate --reason test; resume test; domstate test --reason",
    "undefine test; list --all; destroy test; list --all",
    "undefine test --nvram --keep-nvram",
    "undefine test --wipe-storage",
    "undefine test --remove-all-storage",
    "undefine test --delete-storage-volume-snapshots",
    "destroy test; undefine test --managed-save --snapshots-metadata; list --all",
    "autostart test; autostart test --disable",
    "autostart test --once",
    "desc test --live --current",
    "metadata test http://x --set <a/>",
    "metadata test http://x --set <a/> --edit --key k",
    "console test",
    "console nope",
    "send-key test --codeset foo KEY_A",
    "send-key test KEY_FOO",
    "send-key test 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "qemu-monitor-command test info",
    "qemu-monitor-command test --hmp --pretty info",
    "event",
    "event --event foo",
    "event --event lifecycle --timeout 1",
    "event --event lifecycle --timeout 0",
    "event --all --list",
    "event --list",
    "define /nonexistent",
    "create /nonexistent",
    "define",
    "connect; uri; connect test:///default; uri",
];

/// Lines for the same host about the XML of its guest.
const DOCUMENTS: &[&str] = &[
    "dumpxml test; dumpxml test --inactive; dumpxml test --security-info; dumpxml test --migratable",
    "dumpxml test --update-cpu",
    "dumpxml test --xpath //disk; dumpxml test --xpath //disk --wrap",
    "dumpxml test --xpath //nothing; dumpxml test --xpath //nothing --wrap",
    "dumpxml test --xpath /domain; dumpxml test --xpath //@dev; dumpxml test --xpath //text(); dumpxml test --xpath /",
    "dumpxml test --xpath '//disk[target/@dev=\"vda\"]/source | //memory' --wrap",
    "dumpxml test --xpath 1",
    "dumpxml test --xpath=",
    "capabilities; capabilities --xpath //cpu; capabilities --xpath //guest --wrap",
    "list --title; list --title --uuid",
    "desc test; desc test hello world; desc test; desc test --config",
    "desc test --title hi; list --title; desc test --title; dumpxml test",
    "desc test --config x; desc test --config; desc test",
    "metadata test http://x",
    "metadata test http://x --key k --set '<a/>'; metadata test http://x; dumpxml test --xpath //metadata",
    "metadata test http://x --key k --set '<a/>'; metadata test http://x --remove; metadata test http://x",
    "destroy test; domrename test foo; list --all",
    "domrename test foo",
    "destroy test; undefine test --remove-all-storage",
    "destroy test; undefine test --storage vda,vdb; list --all",
    "destroy test; undefine test --storage vda --wipe-storage; list --all",
    "vcpucount test --guest",
    "shutdown test --mode acpi",
    "undefine test --nvram",
    "define FILE; list --all; dominfo other; start other; list; destroy other; undefine other; list --all",
    "create FILE; list --all; dumpxml other; define FILE --validate; list --persistent --all; destroy other; list --all",
    "create FILE --paused; list; destroy other; list --all; create FILE --autodestroy",
    "define FILE; define FILE; autostart other; dominfo other; list --autostart --all; edit nope",
];

/// A small guest.
const OTHER: &str = "<domain type='test'>
  <name>other</name>
  <uuid>12345678-9abc-4def-8012-3456789abcde</uuid>
  <title>Another one</title>
  <memory>65536</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type></os>
</domain>
";

/// A host with what values are completed from.
const COMPLETED_HOST: &str = "<node><domain type='test'><name>threads</name><memory>8192</memory>\
     <vcpu current='2'>4</vcpu><iothreads>3</iothreads><os><type arch='x86_64'>hvm</type></os><devices>\
     <disk type='file'><source file='/a.img'/><target dev='vda'/></disk>\
     <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>\
     <disk type='volume'><source pool='p' volume='v'/><target dev='vdb'/></disk></devices></domain></node>";

/// Beginnings of lines; the last word is what is completed.
const COMPLETED: &[&[&str]] = &[
    &["vcpupin", "threads", "--vcpu", ""],
    &["vcpupin", "--domain", "threads", "--vcpu", "1"],
    &["vcpupin", "threads", "--cpulist", ""],
    &["vcpupin", "threads", "--cpulist", "0,"],
    &["emulatorpin", "threads", "--cpulist", "3,"],
    &["iothreadadd", "threads", "--id", ""],
    &["iothreaddel", "threads", "--id", ""],
    &["iothreadpin", "threads", "--iothread", ""],
    &["iothreadpin", "threads", "1", "--cpulist", "1,"],
    &["iothreadset", "threads", "--id", ""],
    &["iothreadset", "nobody", "--id", ""],
    &["undefine", "threads", "--storage", ""],
    &["undefine", "threads", "--storage", "vda,hdc,"],
    &["pool-define-as", "x", "--type", ""],
    &["pool-define-as", "x", "d"],
    &["shutdown", "threads", "--mode", "acpi,"],
];

/// Lines typed into the shell.
const TYPED: &[&str] = &[
    "list\nquit\n",
    "list\n\n  \nfoo\n\"x\nquit",
    "exit\nlist\n",
    "list;echo a\n",
];

fn output(program: &str, arguments: &[&str], typed: Option<&str>) -> (String, String, Option<i32>) {
    use std::io::Write;
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .env("VIRT_DRIVER_DIR", plugins().unwrap().directory())
        .env_remove("LIBVIRT_DEFAULT_URI")
        .env_remove("VIRSH_DEFAULT_CONNECT_URI")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has ended already reads nothing.
    let _ = stdin.write_all(typed.unwrap_or_default().as_bytes());
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr), out.status.code())
}

/// What is the same in both: errors begin alike, and what is wrong is said in words of one's own behind that. The CPU time
/// of the simulator's guests is the time of day.
fn comparable((out, err, code): (String, String, Option<i32>)) -> (String, Vec<String>, Option<i32>) {
    let lines = err.lines().map(|line| {
        let mut parts = line.splitn(3, ": ");
        match (parts.next(), parts.next()) {
            (Some("error"), Some(prefix)) => format!("error: {prefix}"),
            _ => line.to_owned(),
        }
    });
    let out = out.lines().map(|line| match line.split_once("CPU time:") {
        Some((before, _)) => format!("{before}CPU time:\n"),
        None => format!("{line}\n"),
    });
    (out.collect(), lines.collect(), code)
}

fn compare(arguments: &[&str], typed: Option<&str>) {
    let stock = comparable(output("/usr/bin/virsh", arguments, typed));
    let ours = comparable(output(env!("CARGO_BIN_EXE_virsh"), arguments, typed));
    assert_eq!(ours, stock, "virsh {arguments:?} {typed:?}");
}

/// The version whose output ours has.
fn is_same_version() -> bool {
    output("/usr/bin/virsh", &["-v"], None).0.trim() == virsh::program::LIBVIRT_VERSION
}

#[test]
fn offline_commands_print_what_stock_prints() {
    need!(program "virsh");
    if !is_same_version() {
        virt_api::testkit::skip("virsh: another version is installed");
        return;
    }
    for arguments in OFFLINE {
        compare(arguments, None);
    }
}

#[test]
fn commands_on_the_default_host_print_what_stock_prints() {
    need!(program "virsh");
    if !is_same_version() {
        virt_api::testkit::skip("virsh: another version is installed");
        return;
    }
    for line in DEFAULT {
        compare(&["-c", "test:///default", line], None);
    }
}

#[test]
fn values_are_completed_as_stock_completes_them() {
    need!(program "virsh");
    if !is_same_version() {
        virt_api::testkit::skip("virsh: another version is installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("host.xml");
    std::fs::write(&host, COMPLETED_HOST).unwrap();
    let uri = format!("test://{}", host.display());
    for line in COMPLETED {
        let mut arguments = vec!["-c", &uri, "complete", "--"];
        arguments.extend_from_slice(line);
        compare(&arguments, None);
    }
}

#[test]
fn documents_are_what_stock_prints() {
    need!(program "virsh");
    if !is_same_version() {
        virt_api::testkit::skip("virsh: another version is installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.xml");
    std::fs::write(&file, OTHER).unwrap();
    for line in DOCUMENTS {
        compare(
            &[
                "-c",
                "test:///default",
                &line.replace("FILE", file.to_str().unwrap()),
            ],
            None,
        );
    }
}

#[test]
fn the_shell_answers_as_stock_answers() {
    need!(program "virsh");
    if !is_same_version() {
        virt_api::testkit::skip("virsh: another version is installed");
        return;
    }
    for typed in TYPED {
        compare(&["-c", "test:///default"], Some(typed));
        compare(&["-q", "-r", "-c", "test:///default"], Some(typed));
    }
}

#[test]
fn every_option_of_a_command_is_one_that_stock_has_and_the_other_way_round() {
    need!(program "virsh");
    if !is_same_version() {
        virt_api::testkit::skip("virsh: another version is installed");
        return;
    }
    let own = ["driver-list", "driver-check"];
    // What stock's command has not.
    let own_options = [("define", " [--dry-run]")];
    let listed = virsh::commands::GROUPS
        .iter()
        .flat_map(|group| group.commands)
        .filter(|one| one.is_listed());
    for command in listed.filter(|command| !own.contains(&command.name)) {
        let synopsis = |text: &str| {
            let line = text.lines().skip_while(|line| *line != "  SYNOPSIS").nth(1);
            line.map(str::to_owned)
        };
        let stock = output("/usr/bin/virsh", &["help", command.name], None).0;
        let mut ours = synopsis(&virsh::help::command(command)).unwrap_or_default();
        for (_, option) in own_options.iter().filter(|(name, _)| *name == command.name) {
            assert!(ours.contains(option), "{}: {ours}", command.name);
            ours = ours.replace(option, "");
        }
        assert_eq!(Some(ours), synopsis(&stock), "{}", command.name);
    }
}
