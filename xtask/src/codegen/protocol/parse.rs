//! Reads the `.virt` grammar. Errors name file and line; what does not make sense does not generate.

use super::model::*;

type Result<T> = std::result::Result<T, String>;

/// Parses one program; `known` are the programs before it.
pub fn program(file: &str, text: &str) -> Result<Program> {
    Parser::new(file, text).program()
}

/// Parses the access model.
pub fn access(file: &str, text: &str) -> Result<Vec<AccessObject>> {
    Parser::new(file, text).access()
}

struct Parser<'a> {
    file: &'a str,
    lines: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line)).collect();
        Self { file, lines, at: 0 }
    }

    fn error<T>(&self, line: usize, what: impl std::fmt::Display) -> Result<T> {
        Err(format!("{}:{line}: {what}", self.file))
    }

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let line = self.lines.get(self.at).copied();
        self.at += 1;
        line
    }

    fn access(mut self) -> Result<Vec<AccessObject>> {
        let mut objects = Vec::new();
        while let Some((line, text)) = self.next() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Some(name) = text
                .strip_prefix("object ")
                .and_then(|rest| rest.strip_suffix(" {"))
            else {
                return self.error(line, "`object NAME {` expected");
            };
            let mut permissions = Vec::new();
            loop {
                let Some((line, text)) = self.next() else {
                    return self.error(line, "the object has no end");
                };
                let text = text.trim();
                if text == "}" {
                    break;
                }
                let Some((permission, rest)) = text.split_once(" = ") else {
                    return self.error(line, "`PERMISSION = NUMBER [anonymous]` expected");
                };
                let (value, anonymous) = match rest.strip_suffix(" anonymous") {
                    Some(value) => (value, true),
                    None => (rest, false),
                };
                permissions.push(AccessPermission {
                    name: permission.to_owned(),
                    value: self.number(line, value)?,
                    anonymous,
                });
            }
            objects.push(AccessObject {
                name: name.to_owned(),
                permissions,
            });
        }
        Ok(objects)
    }

    fn program(mut self) -> Result<Program> {
        let mut program = Program {
            name: String::new(),
            number: 0,
            version: 0,
            about: String::new(),
            uses: Vec::new(),
            limits: Vec::new(),
            flags: Default::default(),
            enums: Vec::new(),
            structs: Vec::new(),
            procedures: Vec::new(),
        };
        let mut doc = String::new();
        while let Some((line, text)) = self.next() {
            let text = text.trim_end();
            let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
            match word {
                "" if text.is_empty() => {}
                "#" => {
                    if program.about.is_empty() {
                        rest.clone_into(&mut program.about);
                    }
                }
                "///" => {
                    if !doc.is_empty() {
                        doc.push('\n');
                    }
                    doc.push_str(rest);
                }
                "program" => {
                    let words: Vec<&str> = rest.split(' ').collect();
                    let [name, number, "version", version] = words[..] else {
                        return self.error(line, "`program NAME NUMBER version NUMBER` expected");
                    };
                    name.clone_into(&mut program.name);
                    program.number = self.number(line, number)?;
                    program.version = self.number(line, version)?;
                }
                "use" => program.uses.push(rest.to_owned()),
                "limit" | "flag" => {
                    let Some((name, value)) = rest.split_once(" = ") else {
                        return self.error(line, "`NAME = NUMBER` expected");
                    };
                    let value = self.number(line, value)?;
                    if word == "limit" {
                        program.limits.push((name.to_owned(), value));
                    } else {
                        program.flags.insert(name.to_owned(), value);
                    }
                }
                "enum" => {
                    let name = self.block(line, rest)?;
                    let mut members = Vec::new();
                    for (line, text) in self.body(line)? {
                        let Some((member, value)) = text.split_once(" = ") else {
                            return self.error(line, "`NAME = NUMBER` expected");
                        };
                        members.push((member.to_owned(), self.number(line, value)? as i32));
                    }
                    program.enums.push(Enum {
                        doc: self.take_doc(line, &mut doc)?,
                        name,
                        members,
                    });
                }
                "struct" => {
                    let name = self.block(line, rest)?;
                    let mut fields = Vec::new();
                    for (line, text) in self.body(line)? {
                        fields.push(self.field(line, text)?);
                    }
                    program.structs.push(Struct {
                        doc: self.take_doc(line, &mut doc)?,
                        name,
                        fields,
                    });
                }
                "call" | "event" | "message" => {
                    let kind = match word {
                        "call" => Kind::Call,
                        "event" => Kind::Event,
                        _ => Kind::Message,
                    };
                    let doc = self.take_doc(line, &mut doc)?;
                    let procedure = self.procedure(line, kind, rest, doc, &program)?;
                    program.procedures.push(procedure);
                }
                _ => return self.error(line, format_args!("`{word}` is no word of the grammar")),
            }
        }
        if program.name.is_empty() {
            return self.error(1, "no `program` line");
        }
        self.check(&program)?;
        Ok(program)
    }

    /// What would generate, but not mean anything.
    fn check(&self, program: &Program) -> Result<()> {
        for (index, procedure) in program.procedures.iter().enumerate() {
            let line = procedure.line;
            if procedure.number as usize != index + 1 {
                return self.error(
                    line,
                    format_args!(
                        "number {} expected: procedures are numbered without gaps",
                        index + 1
                    ),
                );
            }
            if procedure.doc.is_empty() {
                return self.error(line, "a sentence of documentation (`/// …`) is missing");
            }
            if procedure.kind != Kind::Call {
                continue;
            }
            if procedure.acl.is_empty() && procedure.acl_none.is_none() {
                return self.error(
                    line,
                    "`acl` is missing; where none applies say so: `acl none \"reason\"`",
                );
            }
            for (what, value) in [
                ("on", &procedure.on),
                ("module", &procedure.module),
                ("class", &procedure.class),
                ("owner", &procedure.owner),
            ] {
                if value.is_empty() {
                    return self.error(line, format_args!("`{what}` is missing"));
                }
            }
        }
        Ok(())
    }

    fn procedure(
        &mut self,
        line: usize,
        kind: Kind,
        head: &str,
        doc: String,
        program: &Program,
    ) -> Result<Procedure> {
        let Some((number, rest)) = head.split_once(' ') else {
            return self.error(line, "`NUMBER NAME(ARGUMENTS)` expected");
        };
        let number = self.number(line, number)?;
        let Some((name, rest)) = rest.split_once('(') else {
            return self.error(line, "`(` expected");
        };
        let Some((args, rest)) = rest.split_once(')') else {
            return self.error(line, "`)` expected");
        };
        let args = self.fields(line, args)?;
        let reply = match rest.strip_prefix(" -> (").and_then(|rest| rest.strip_suffix(')')) {
            Some(reply) => self.fields(line, reply)?,
            None if rest.is_empty() => Vec::new(),
            None => return self.error(line, "` -> (ANSWER)` expected"),
        };
        let mut procedure = Procedure {
            line,
            kind,
            number,
            name: name.to_owned(),
            doc,
            args,
            reply,
            apis: Vec::new(),
            on: String::new(),
            module: String::new(),
            owner: String::new(),
            class: String::new(),
            high: false,
            inline: false,
            before_auth: false,
            typed_strings: false,
            read_only: None,
            acl: Vec::new(),
            acl_none: None,
            filter: Vec::new(),
            object: None,
            rules: Vec::new(),
            counts: Vec::new(),
            stream: None,
            fds_in: None,
            fds_out: None,
        };
        while let Some((line, text)) = self.lines.get(self.at).copied() {
            let Some(text) = text.strip_prefix("    ") else {
                break;
            };
            self.at += 1;
            let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
            self.attribute(line, word, rest, &mut procedure, program)?;
        }
        Ok(procedure)
    }

    fn attribute(
        &self,
        line: usize,
        word: &str,
        rest: &str,
        procedure: &mut Procedure,
        program: &Program,
    ) -> Result<()> {
        let one_of = |value: &str, allowed: &[&str]| -> Result<String> {
            if allowed.contains(&value) {
                Ok(value.to_owned())
            } else {
                self.error(
                    line,
                    format_args!("`{word} {value}`: one of {} expected", allowed.join(", ")),
                )
            }
        };
        match word {
            "api" => procedure.apis = rest.split(' ').map(str::to_owned).collect(),
            "on" => {
                procedure.on = one_of(
                    rest,
                    &[
                        "hypervisor",
                        "network",
                        "interface",
                        "storage",
                        "node_device",
                        "nwfilter",
                        "secret",
                        "admin",
                    ],
                )?;
            }
            "module" => procedure.module = one_of(rest, MODULES)?,
            "owner" => procedure.owner = one_of(rest, &["daemon", "driver", "events"])?,
            "class" => {
                procedure.class = one_of(
                    rest,
                    &["query", "change", "long", "agent", "control", "event", "session"],
                )?;
            }
            "priority" => procedure.high = one_of(rest, &["high", "low"])? == "high",
            "inline" => procedure.inline = true,
            "before_auth" => procedure.before_auth = true,
            "typed_strings" => {
                if !procedure
                    .args
                    .iter()
                    .any(|field| field.name == "flags" && field.ty == Type::U32)
                {
                    return self.error(
                        line,
                        "`typed_strings` is about the argument `flags`, which is missing",
                    );
                }
                procedure.typed_strings = true;
            }
            "read_only" => {
                let (rest, reason) = self.reason(line, rest)?;
                let when = match rest {
                    "deny" => None,
                    _ => match rest.strip_prefix("deny if ") {
                        Some(condition) => Some(self.condition(line, condition, program)?),
                        None => return self.error(line, "`deny` or `deny if CONDITION` expected"),
                    },
                };
                procedure.read_only = Some(ReadOnly { when, reason });
            }
            "acl" => match rest.strip_prefix("none ") {
                Some(reason) => procedure.acl_none = Some(self.quoted(line, reason)?),
                None => procedure.acl.push(self.acl(line, rest, program)?),
            },
            "filter" => procedure.filter.push(self.acl(line, rest, program)?),
            "object" => {
                procedure.object = Some(one_of(
                    rest,
                    &["xml", "key", "file", "name", "params", "process", "foreign"],
                )?);
            }
            "stream" => {
                let mut words = rest.split(' ');
                let direction = one_of(words.next().unwrap_or_default(), &["in", "out"])?;
                let (mut both, mut sparse) = (false, None);
                while let Some(word) = words.next() {
                    match word {
                        "both" => both = true,
                        "sparse" => {
                            let name = words.next().unwrap_or_default();
                            sparse = Some((name.to_owned(), self.flag(line, name, program)?));
                        }
                        _ => return self.error(line, "`stream in|out [both] [sparse FLAG]` expected"),
                    }
                }
                procedure.stream = Some(StreamUse {
                    direction,
                    both,
                    sparse,
                });
            }
            "fds" => {
                let Some((direction, count)) = rest.split_once(' ') else {
                    return self.error(line, "`fds in|out COUNT` expected");
                };
                let count = match count.strip_suffix("..") {
                    Some(min) => (self.number(line, min)?, None),
                    None => {
                        let exactly = self.number(line, count)?;
                        (exactly, Some(exactly))
                    }
                };
                match one_of(direction, &["in", "out"])?.as_str() {
                    "in" => procedure.fds_in = Some(count),
                    _ => procedure.fds_out = Some(count),
                }
            }
            "count" => procedure.counts.push(self.count(line, rest, procedure, program)?),
            "rule" => procedure.rules.push(self.rule(line, rest, procedure, program)?),
            _ => return self.error(line, format_args!("`{word}` is no attribute")),
        }
        Ok(())
    }

    fn rule(&self, line: usize, text: &str, procedure: &Procedure, program: &Program) -> Result<Rule> {
        let Some((name, rest)) = text.split_once('(') else {
            return self.error(line, "`RULE(ARGUMENT)` expected");
        };
        let Some(inside) = rest.strip_suffix(')') else {
            return self.error(line, "`)` expected");
        };
        let argument = |name: &str| -> Result<String> {
            if procedure.args.iter().any(|field| field.name == name) {
                Ok(name.to_owned())
            } else {
                self.error(line, format_args!("there is no argument `{name}`"))
            }
        };
        let pair = || -> Result<((String, u32), (String, u32))> {
            let Some((a, b)) = inside.split_once(", ") else {
                return self.error(line, "two flags expected");
            };
            let mut others = 0;
            for name in b.split('|') {
                others |= self.flag(line, name, program)?;
            }
            Ok((
                (a.to_owned(), self.flag(line, a, program)?),
                (b.to_owned(), others),
            ))
        };
        Ok(match name {
            "non_empty" => Rule::NonEmpty(argument(inside)?),
            "positive" => Rule::Positive(argument(inside)?),
            "non_negative" => Rule::NonNegative(argument(inside)?),
            "non_zero" => Rule::NonZero(argument(inside)?),
            "present" => Rule::Present(argument(inside)?),
            "below" | "at_most" => {
                let Some((subject, limit)) = inside.split_once(", ") else {
                    return self.error(line, format_args!("`{name}(ARGUMENT, CONSTANT)` expected"));
                };
                let (subject, value) = (argument(subject)?, self.flag(line, limit, program)?);
                if name == "below" {
                    Rule::Below(subject, limit.to_owned(), value)
                } else {
                    Rule::AtMost(subject, limit.to_owned(), value)
                }
            }
            "check" => {
                let mut words = inside.split(", ");
                let check = words.next().unwrap_or_default().to_owned();
                Rule::Check(check, words.map(argument).collect::<Result<_>>()?)
            }
            "exclusive" => {
                let (a, b) = pair()?;
                Rule::Exclusive(a, b)
            }
            "requires" => {
                let (a, b) = pair()?;
                Rule::Requires(a, b)
            }
            _ => return self.error(line, format_args!("`{name}` is no rule")),
        })
    }

    /// `ARGUMENT[*ARGUMENT] [<= LIMIT | < CONSTANT] [rpc]`.
    fn count(&self, line: usize, text: &str, procedure: &Procedure, program: &Program) -> Result<Count> {
        let (text, rpc) = match text.strip_suffix(" rpc") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (arguments, most) = if let Some((arguments, limit)) = text.split_once(" <= ") {
            match program.limits.iter().find(|(name, _)| name == limit) {
                Some((_, value)) => (arguments, Some(*value)),
                None => return self.error(line, format_args!("there is no limit `{limit}`")),
            }
        } else if let Some((arguments, flag)) = text.split_once(" < ") {
            (arguments, Some(self.flag(line, flag, program)?.saturating_sub(1)))
        } else {
            (text, None)
        };
        let arguments: Vec<String> = arguments.split('*').map(str::to_owned).collect();
        for name in &arguments {
            let field = procedure.args.iter().find(|field| field.name == *name);
            if !field.is_some_and(|field| matches!(field.ty, Type::I32 | Type::U32 | Type::List(..))) {
                return self.error(line, format_args!("`{name}` is no argument that counts"));
            }
        }
        Ok(Count { arguments, most, rpc })
    }

    fn acl(&self, line: usize, text: &str, program: &Program) -> Result<AclRule> {
        let (text, reason) = self.reason(line, text)?;
        let (subject, when) = match text.split_once(" if ") {
            Some((subject, condition)) => (subject, Some(self.condition(line, condition, program)?)),
            None => (text, None),
        };
        let Some((object, permission)) = subject.split_once(':') else {
            return self.error(line, "`OBJECT:PERMISSION` expected");
        };
        Ok(AclRule {
            object: object.to_owned(),
            permission: permission.to_owned(),
            when,
            reason,
        })
    }

    /// `all(A|B)`, `any(…)`, `none(…)` on `flags`, or `argument == CONSTANT`.
    fn condition(&self, line: usize, text: &str, program: &Program) -> Result<Condition> {
        if let Some((argument, name)) = text.split_once(" == ") {
            return Ok(Condition {
                argument: argument.to_owned(),
                test: Test::Equal,
                names: vec![name.to_owned()],
                value: self.flag(line, name, program)?,
            });
        }
        let Some((test, names)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
            return self.error(line, format_args!("`{text}` is no condition"));
        };
        let test = match test {
            "any" => Test::Any,
            "all" => Test::All,
            "none" => Test::None,
            _ => return self.error(line, format_args!("`{test}` is no test of flags")),
        };
        let names: Vec<String> = names.split('|').map(str::to_owned).collect();
        let mut value = 0;
        for name in &names {
            value |= self.flag(line, name, program)?;
        }
        Ok(Condition {
            argument: "flags".to_owned(),
            test,
            names,
            value,
        })
    }

    fn flag(&self, line: usize, name: &str, program: &Program) -> Result<u32> {
        match program.flags.get(name) {
            Some(value) => Ok(*value),
            None => self.error(line, format_args!("`{name}` is not declared: `flag {name} = …`")),
        }
    }

    /// Cuts ` override "reason"` off.
    fn reason<'t>(&self, line: usize, text: &'t str) -> Result<(&'t str, Option<String>)> {
        match text.split_once(" override ") {
            Some((rest, reason)) => Ok((rest, Some(self.quoted(line, reason)?))),
            None => Ok((text, None)),
        }
    }

    fn quoted(&self, line: usize, text: &str) -> Result<String> {
        match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(inside) if !inside.is_empty() => Ok(inside.to_owned()),
            _ => self.error(line, "a reason in double quotes expected"),
        }
    }

    fn block(&self, line: usize, rest: &str) -> Result<String> {
        match rest.strip_suffix(" {") {
            Some(name) => Ok(name.to_owned()),
            None => self.error(line, "`NAME {` expected"),
        }
    }

    fn body(&mut self, line: usize) -> Result<Vec<(usize, &'a str)>> {
        let mut body = Vec::new();
        loop {
            match self.next() {
                Some((_, "}")) => return Ok(body),
                Some((line, text)) => body.push((line, text.trim())),
                None => return self.error(line, "the block has no end"),
            }
        }
    }

    fn take_doc(&self, line: usize, doc: &mut String) -> Result<String> {
        if doc.is_empty() {
            return self.error(line, "a sentence of documentation (`/// …`) is missing");
        }
        Ok(std::mem::take(doc))
    }

    fn fields(&self, line: usize, text: &str) -> Result<Vec<Field>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        text.split(", ").map(|field| self.field(line, field)).collect()
    }

    fn field(&self, line: usize, text: &str) -> Result<Field> {
        let Some((name, ty)) = text.split_once(": ") else {
            return self.error(line, format_args!("`{text}`: `NAME: TYPE` expected"));
        };
        Ok(Field {
            name: name.to_owned(),
            ty: self.ty(line, ty)?,
        })
    }

    fn ty(&self, line: usize, text: &str) -> Result<Type> {
        if let Some(inner) = text.strip_suffix('?') {
            return Ok(Type::Optional(Box::new(self.ty(line, inner)?)));
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let Some((item, limit)) = inner.split_once("; ") else {
                return self.error(line, "`[TYPE; LIMIT]` expected");
            };
            return Ok(Type::List(Box::new(self.ty(line, item)?), limit.to_owned()));
        }
        if let Some(length) = text.strip_prefix("text[").and_then(|text| text.strip_suffix(']')) {
            return Ok(Type::TextFixed(self.number(line, length)?));
        }
        if let Some((name, limit)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
            let limit = limit.to_owned();
            return Ok(match name {
                "bytes" => Type::Bytes(limit),
                "chars" => Type::Chars(limit),
                "text" => Type::Text(limit),
                "params" => Type::Params(limit),
                _ => return self.error(line, format_args!("`{name}` is no type with a limit")),
            });
        }
        Ok(match text {
            "i32" => Type::I32,
            "u32" => Type::U32,
            "i64" => Type::I64,
            "u64" => Type::U64,
            "f64" => Type::F64,
            "char" => Type::Char,
            "uchar" => Type::Uchar,
            "ushort" => Type::Ushort,
            "uuid" => Type::Uuid,
            "string" => Type::String,
            _ if text.starts_with(|first: char| first.is_ascii_uppercase()) => Type::Named(text.to_owned()),
            _ => return self.error(line, format_args!("`{text}` is no type")),
        })
    }

    fn number(&self, line: usize, text: &str) -> Result<u32> {
        let number = match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        match number {
            Ok(number) => Ok(number),
            Err(_) => self.error(line, format_args!("`{text}` is no number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "program test 0x1 version 1\nlimit MAX = 4\nflag VIR_A = 0x1\nflag VIR_B = 0x2\n\n";
    const CALL: &str = "/// Does something.\ncall 1 thing(name: string, flags: u32) -> (list: [i32; MAX])\n    on hypervisor\n    module domain\n    owner driver\n    class query\n    acl connect:read\n";

    fn error(text: &str) -> String {
        match program("test.virt", text) {
            Ok(_) => panic!("this generates:\n{text}"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_whole_procedure_is_read() {
        let text = format!(
            "{HEAD}{CALL}    read_only deny if any(VIR_A|VIR_B)\n    rule non_empty(name)\n    rule exclusive(VIR_A, VIR_B)\n    fds in 1..\n"
        );
        let program = program("test.virt", &text).unwrap();
        let procedure = &program.procedures[0];
        assert_eq!(procedure.args[1].ty, Type::U32);
        assert_eq!(
            procedure.reply[0].ty,
            Type::List(Box::new(Type::I32), "MAX".to_owned())
        );
        let when = procedure
            .read_only
            .as_ref()
            .and_then(|it| it.when.as_ref())
            .unwrap();
        assert_eq!((when.argument.as_str(), when.value), ("flags", 3));
        assert_eq!((procedure.rules.len(), procedure.fds_in), (2, Some((1, None))));
    }

    #[test]
    fn a_procedure_without_access_rule_class_or_driver_does_not_generate() {
        for (line, word) in [
            ("acl connect:read", "acl"),
            ("class query", "class"),
            ("on hypervisor", "on"),
            ("module domain", "module"),
            ("owner driver", "owner"),
        ] {
            let text = format!("{HEAD}{CALL}").replace(&format!("    {line}\n"), "");
            let error = error(&text);
            assert!(
                error.contains("test.virt:7") && error.contains(&format!("`{word}`")),
                "{error}"
            );
        }
        let reasoned = format!("{HEAD}{CALL}").replace("acl connect:read", "acl none \"it asks nothing\"");
        assert!(program("test.virt", &reasoned).is_ok());
        let unreasoned = format!("{HEAD}{CALL}").replace("acl connect:read", "acl none \"\"");
        assert!(error(&unreasoned).contains("reason"));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (from, to, expected) in [
            ("/// Does something.\n", "", "documentation"),
            ("call 1", "call 2", "number 1 expected"),
            ("string", "strnig", "`strnig` is no type"),
            ("class query", "class quick", "one of query"),
            ("class query", "clas query", "`clas` is no attribute"),
            ("acl connect:read", "acl connect", "OBJECT:PERMISSION"),
            (
                "acl connect:read",
                "acl connect:read if all(VIR_C)",
                "`VIR_C` is not declared",
            ),
        ] {
            let error = error(&format!("{HEAD}{CALL}").replace(from, to));
            assert!(
                error.contains(expected) && error.starts_with("test.virt:"),
                "{error}"
            );
        }
        for (rule, expected) in [
            ("rule non_empty(nome)", "no argument `nome`"),
            ("rule shiny(name)", "`shiny` is no rule"),
            ("count name <= MAX", "`name` is no argument that counts"),
            ("count flags <= MOST", "no limit `MOST`"),
            ("rule exclusive(VIR_A, VIR_C)", "`VIR_C` is not declared"),
        ] {
            let error = error(&format!("{HEAD}{CALL}    {rule}\n"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
