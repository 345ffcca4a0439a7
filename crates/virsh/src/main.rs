//! The `virsh` program; the library has it all.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    virsh::program::main()
}
