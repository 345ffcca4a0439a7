//! Commands that clients wrote themselves: for QEMU's monitor, and for the agent inside.

use serde_json::Value;
use virt_api::access::{Domain, Resolved};
use virt_api::call::CallContext;
use virt_api::protocol::qemu::{QemuDomainAgentCommandReply, QemuDomainMonitorCommandReply};
use virt_api::protocol::traits::HypervisorDriver;
use virt_conf::registry::job::{AgentJob, Job};
use virt_util::types::DomainQemuMonitorCommandFlags;
use virt_util::{ErrorCode, Result};

use super::QemuConnection;
use super::guest_agent::agent_timeout;
use crate::driver::{error, life};
use crate::monitor::Command;

#[virt_api::implements(part)]
impl HypervisorDriver for QemuConnection {
    #[flags("qemuDomainQemuMonitorCommand", DomainQemuMonitorCommandFlags::HMP.bits())]
    fn qemu_domain_monitor_command(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cmd: String,
        flags: u32,
    ) -> Result<QemuDomainMonitorCommandReply> {
        let human = DomainQemuMonitorCommandFlags::from(flags).contains(DomainQemuMonitorCommandFlags::HMP);
        let command = if human {
            Command::new("human-monitor-command").with("command-line", cmd)
        } else {
            raw_command(&cmd)?
        };
        let reply = self.change(cx, &domain, Job::Query, "virDomainQemuMonitorCommand", |guest| {
            let guest = life::running(guest)?;
            let mut replies = guest.execute_all(vec![command], cx.deadline(), cx.cancel())?;
            replies
                .pop()
                .ok_or_else(|| error(ErrorCode::INTERNAL_ERROR, "QEMU gave no answer"))
        })?;
        let result = match (reply, human) {
            (Ok(Value::String(text)), true) => text,
            (Ok(answer), true) => answer.to_string(),
            (Ok(answer), false) => serde_json::json!({ "return": answer }).to_string(),
            (Err(refusal), true) => return Err(refusal.into_error("human-monitor-command")),
            (Err(refusal), false) => serde_json::json!({
                "error": { "class": refusal.class, "desc": refusal.description }
            })
            .to_string(),
        };
        Ok(QemuDomainMonitorCommandReply { result })
    }

    #[flags("qemuDomainQemuAgentCommand", 0)]
    fn qemu_domain_agent_command(
        &self,
        cx: &mut CallContext<'_>,
        domain: Resolved<Domain>,
        cmd: String,
        timeout: i32,
        _: u32,
    ) -> Result<QemuDomainAgentCommandReply> {
        let limit = agent_timeout(timeout)?;
        let result = self.agent(
            cx,
            &domain,
            AgentJob::Modify,
            "virDomainQemuAgentCommand",
            |_, agent| agent.arbitrary(&cmd, limit),
        )?;
        Ok(QemuDomainAgentCommandReply { result: Some(result) })
    }
}

/// A QMP command as a client wrote it.
fn raw_command(text: &str) -> Result<Command> {
    let object = virt_util::json_lines::parse_object(text.as_bytes())?;
    let name = object
        .get("execute")
        .and_then(Value::as_str)
        .ok_or_else(|| error(ErrorCode::INVALID_ARG, "a monitor command needs a text 'execute'"))?;
    let command = Command::new(name.to_owned());
    Ok(match object.get("arguments") {
        Some(arguments) => command.with_arguments(arguments.clone()),
        None => command,
    })
}
