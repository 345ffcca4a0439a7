//! XPath 1.0's grammar.

/// The direction of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are XPath's")]
pub enum Axis {
    Child,
    Descendant,
    DescendantOrSelf,
    Parent,
    Ancestor,
    AncestorOrSelf,
    FollowingSibling,
    PrecedingSibling,
    Following,
    Preceding,
    Attribute,
    SelfNode,
}

/// What a step selects on its axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Nodes of the axis's kind with this name; `*` alone or behind a prefix is any.
    Name(String),
    /// Nodes of any kind.
    Node,
    /// Character data.
    Text,
    /// Comments.
    Comment,
    /// Processing instructions.
    Instruction,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where to.
    pub axis: Axis,
    /// To what.
    pub test: Test,
    /// Which of them.
    pub predicates: Vec<Expr>,
}

/// Operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the operators'")]
pub enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Union,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A path from the document (`absolute`) or from the context.
    Path {
        /// Whether it starts with `/`.
        absolute: bool,
        /// Its steps.
        steps: Vec<Step>,
    },
    /// A value with predicates and further steps: `(…)[1]/a`.
    Filter {
        /// The value.
        base: Box<Expr>,
        /// Which of its nodes.
        predicates: Vec<Expr>,
        /// Where to from there.
        steps: Vec<Step>,
    },
    /// Two values and what becomes of them.
    Binary(Op, Box<Expr>, Box<Expr>),
    /// The negative of a number.
    Negate(Box<Expr>),
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// A function.
    Call(String, Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
}

/// Expressions nested deeper, or longer than this many words, are refused.
const DEPTH_MAX: usize = 64;
const TOKENS_MAX: usize = 4096;

const SIGNS: &[&str] = &[
    "//", "::", "..", "!=", "<=", ">=", "(", ")", "[", "]", ".", "@", ",", "/", "|", "+", "-", "=", "<", ">",
    "*", "$",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut rest = text.trim_start();
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        if found.len() == TOKENS_MAX {
            return Err(format!("it has more than {TOKENS_MAX} words"));
        }
        if first == '"' || first == '\'' {
            let inside = rest.get(1..).unwrap_or_default();
            let end = inside.find(first).ok_or("a string is not closed")?;
            found.push(Token::Text(inside.get(..end).unwrap_or_default().to_owned()));
            rest = inside.get(end + 1..).unwrap_or_default();
        } else if first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (digits, tail) = rest.split_at(end);
            found.push(Token::Number(
                digits.parse().map_err(|_| format!("'{digits}' is no number"))?,
            ));
            rest = tail;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest = rest.strip_prefix(sign).unwrap_or_default();
        } else if first.is_alphabetic() || first == '_' {
            let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            let mut end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            // A prefix and its name are one word; an axis and its test are not.
            let behind = rest.get(end..).unwrap_or_default();
            if let Some(local) = behind.strip_prefix(':').filter(|local| !local.starts_with(':')) {
                if local.starts_with('*') {
                    end += 2;
                } else {
                    end += 1 + local.find(|c| !is_name(c)).unwrap_or(local.len());
                }
            }
            let (name, tail) = rest.split_at(end);
            found.push(Token::Name(name.to_owned()));
            rest = tail;
        } else {
            return Err(format!("'{first}' is not expected"));
        }
        rest = rest.trim_start();
    }
    Ok(found)
}

/// Parses an expression.
pub fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(token) => Err(format!("{} is not expected", show(token))),
    }
}

fn show(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("'{name}'"),
        Token::Number(number) => format!("'{number}'"),
        Token::Text(text) => format!("\"{text}\""),
        Token::Sign(sign) => format!("'{sign}'"),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let there = self.is(sign);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(token) => format!("'{sign}' is missing before {}", show(token)),
            None => format!("'{sign}' is missing at the end"),
        })
    }

    /// A left-associative chain of operators.
    fn chain(
        &mut self,
        next: fn(&mut Self) -> Result<Expr, String>,
        operators: &[(&str, Op)],
    ) -> Result<Expr, String> {
        let mut left = next(self)?;
        loop {
            let found = match self.peek() {
                Some(Token::Sign(sign)) => operators.iter().find(|(name, _)| name == sign),
                Some(Token::Name(word)) => operators.iter().find(|(name, _)| name == word),
                _ => None,
            };
            let Some((_, operator)) = found else {
                return Ok(left);
            };
            self.at += 1;
            left = Expr::Binary(*operator, Box::new(left), Box::new(next(self)?));
        }
    }

    fn or(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let parsed = self.chain(Self::and, &[("or", Op::Or)]);
        self.depth -= 1;
        parsed
    }

    fn and(&mut self) -> Result<Expr, String> {
        self.chain(Self::equality, &[("and", Op::And)])
    }

    fn equality(&mut self) -> Result<Expr, String> {
        self.chain(Self::relation, &[("=", Op::Equal), ("!=", Op::NotEqual)])
    }

    fn relation(&mut self) -> Result<Expr, String> {
        let operators = [
            ("<", Op::Less),
            ("<=", Op::LessOrEqual),
            (">", Op::Greater),
            (">=", Op::GreaterOrEqual),
        ];
        self.chain(Self::sum, &operators)
    }

    fn sum(&mut self) -> Result<Expr, String> {
        self.chain(Self::product, &[("+", Op::Add), ("-", Op::Subtract)])
    }

    fn product(&mut self) -> Result<Expr, String> {
        self.chain(
            Self::negation,
            &[("*", Op::Multiply), ("div", Op::Divide), ("mod", Op::Modulo)],
        )
    }

    fn negation(&mut self) -> Result<Expr, String> {
        let mut negative = 0;
        while self.take("-") {
            negative += 1;
        }
        let value = self.chain(Self::path, &[("|", Op::Union)])?;
        Ok(if negative == 0 {
            value
        } else if negative % 2 == 1 {
            Expr::Negate(Box::new(value))
        } else {
            Expr::Negate(Box::new(Expr::Negate(Box::new(value))))
        })
    }

    fn path(&mut self) -> Result<Expr, String> {
        if self.starts_primary() {
            let base = self.primary()?;
            let predicates = self.predicates()?;
            let mut steps = Vec::new();
            if self.is("/") || self.is("//") {
                self.more_steps(&mut steps)?;
            }
            if predicates.is_empty() && steps.is_empty() {
                return Ok(base);
            }
            return Ok(Expr::Filter {
                base: Box::new(base),
                predicates,
                steps,
            });
        }
        let mut steps = Vec::new();
        let absolute = self.is("/") || self.is("//");
        if absolute {
            if self.is("/") && !self.starts_step(self.peek_second()) {
                self.at += 1;
                return Ok(Expr::Path { absolute, steps });
            }
        } else {
            steps.push(self.step()?);
        }
        self.more_steps(&mut steps)?;
        Ok(Expr::Path { absolute, steps })
    }

    fn more_steps(&mut self, steps: &mut Vec<Step>) -> Result<(), String> {
        loop {
            if self.take("//") {
                steps.push(Step {
                    axis: Axis::DescendantOrSelf,
                    test: Test::Node,
                    predicates: Vec::new(),
                });
            } else if !self.take("/") {
                return Ok(());
            }
            steps.push(self.step()?);
        }
    }

    fn starts_primary(&self) -> bool {
        match self.peek() {
            Some(Token::Number(_) | Token::Text(_) | Token::Sign("(")) => true,
            Some(Token::Name(name)) => {
                matches!(self.peek_second(), Some(Token::Sign("("))) && node_test(name).is_none()
            }
            _ => false,
        }
    }

    fn starts_step(&self, token: Option<&Token>) -> bool {
        matches!(token, Some(Token::Name(_) | Token::Sign("." | ".." | "@" | "*")))
    }

    fn primary(&mut self) -> Result<Expr, String> {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Number(number)) => Ok(Expr::Number(number)),
            Some(Token::Text(text)) => Ok(Expr::Text(text)),
            Some(Token::Sign("(")) => {
                let inside = self.or()?;
                self.expect(")")?;
                Ok(inside)
            }
            Some(Token::Name(name)) => {
                self.expect("(")?;
                let mut arguments = Vec::new();
                if !self.is(")") {
                    arguments.push(self.or()?);
                    while self.take(",") {
                        arguments.push(self.or()?);
                    }
                }
                self.expect(")")?;
                Ok(Expr::Call(name, arguments))
            }
            _ => Err("a value is missing".into()),
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        let simple = |axis| Step {
            axis,
            test: Test::Node,
            predicates: Vec::new(),
        };
        if self.take(".") {
            return Ok(simple(Axis::SelfNode));
        }
        if self.take("..") {
            return Ok(simple(Axis::Parent));
        }
        let mut axis = Axis::Child;
        if self.take("@") {
            axis = Axis::Attribute;
        } else if let (Some(Token::Name(name)), Some(Token::Sign("::"))) = (self.peek(), self.peek_second()) {
            axis = axis_named(name).ok_or_else(|| format!("'{name}' is no axis"))?;
            self.at += 2;
        }
        let test = if self.take("*") {
            Test::Name("*".into())
        } else {
            let Some(Token::Name(name)) = self.peek().cloned() else {
                return Err(match self.peek() {
                    Some(token) => format!("a name is missing before {}", show(token)),
                    None => "a name is missing at the end".into(),
                });
            };
            self.at += 1;
            match node_test(&name) {
                Some(test) if self.take("(") => {
                    if test == Test::Instruction && matches!(self.peek(), Some(Token::Text(_))) {
                        self.at += 1;
                    }
                    self.expect(")")?;
                    test
                }
                _ => Test::Name(name),
            }
        };
        Ok(Step {
            axis,
            test,
            predicates: self.predicates()?,
        })
    }

    fn predicates(&mut self) -> Result<Vec<Expr>, String> {
        let mut predicates = Vec::new();
        while self.take("[") {
            predicates.push(self.or()?);
            self.expect("]")?;
        }
        Ok(predicates)
    }
}

fn node_test(name: &str) -> Option<Test> {
    match name {
        "node" => Some(Test::Node),
        "text" => Some(Test::Text),
        "comment" => Some(Test::Comment),
        "processing-instruction" => Some(Test::Instruction),
        _ => None,
    }
}

fn axis_named(name: &str) -> Option<Axis> {
    Some(match name {
        "child" => Axis::Child,
        "descendant" => Axis::Descendant,
        "descendant-or-self" => Axis::DescendantOrSelf,
        "parent" => Axis::Parent,
        "ancestor" => Axis::Ancestor,
        "ancestor-or-self" => Axis::AncestorOrSelf,
        "following-sibling" => Axis::FollowingSibling,
        "preceding-sibling" => Axis::PrecedingSibling,
        "following" => Axis::Following,
        "preceding" => Axis::Preceding,
        "attribute" => Axis::Attribute,
        "self" => Axis::SelfNode,
        _ => return None,
    })
}
