//! Fingerprints of source: equal for two texts exactly when their normalised trees are equal.
//!
//! Every part is written as a tag followed by length-prefixed content, so that no two different trees give the same
//! bytes. Positions, comments, redundant parentheses and quote styles are not written; docstrings are, they are
//! expression statements like any other.

use crate::cell::Detail;
use crate::judge::is_history_name;
use crate::name::Name;
use crate::printing;
use crate::syntax::{
    Arguments, Comprehension, ExceptHandler, Expr, FStringPart, InterpolatedStringElement, Look,
    Number, Parameters, Pattern, Singleton, Stmt, TypeParam, TypeParams, ast, deeper, look_through,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

/// A hash that decides "same or not".
pub(crate) type Hash = [u8; 32];

/// Hashes a domain and parts; each part is length-prefixed.
pub(crate) fn hash_parts(detail: Detail, domain: &str, parts: &[&[u8]]) -> Hash {
    let n_bytes = parts.iter().map(|part| 8 + part.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(8 + domain.len() + n_bytes);
    bytes.extend_from_slice(&(domain.len() as u64).to_le_bytes());
    bytes.extend_from_slice(domain.as_bytes());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    if detail.is_everything() {
        digest(&bytes)
    } else {
        // They are compared with each other, as all quick ones are, and nobody sees them.
        quick(&bytes)
    }
}

#[cfg(any(not(target_arch = "wasm32"), feature = "fingerprints"))]
fn digest(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// In the browser nobody sees fingerprints at all.
#[cfg(not(any(not(target_arch = "wasm32"), feature = "fingerprints")))]
fn digest(bytes: &[u8]) -> Hash {
    quick(bytes)
}

/// For what is only ever compared in the process that made it.
fn quick(bytes: &[u8]) -> Hash {
    in_hash(xxh3_128(bytes))
}

fn in_hash(quick: u128) -> Hash {
    let mut hash = Hash::default();
    hash[..16].copy_from_slice(&quick.to_le_bytes());
    hash
}

/// 64 lower-case hex digits.
pub(crate) fn to_hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Fingerprint of one statement.
pub(crate) fn statement(statement: &Stmt, detail: Detail) -> Hash {
    let mut writer = Writer::default();
    writer.stmt(statement);
    writer.hash(detail, "statement")
}

/// Fingerprint of one statement, and of what it computes where that is less than the statement: which name a value is bound
/// to is no part of the value, nor are the names of what it is made from, and neither is what functions print.
pub(crate) fn with_values(statement: &Stmt, detail: Detail) -> (Hash, Option<Hash>) {
    let mut writer = Writer::default();
    writer.stmt(statement);
    let whole = writer.hash(detail, "statement");
    let values = match statement {
        Stmt::Assign(node) if node.targets.iter().all(Expr::is_name_expr) => {
            let mut writer = Writer {
                free: Some(FreeNames::new(&node.value)),
                ..Writer::default()
            };
            writer.expr(&node.value);
            Some(writer.hash(detail, "value"))
        }
        Stmt::FunctionDef(_) | Stmt::ClassDef(_) if writer.n_prints > 0 => {
            let mut writer = Writer {
                is_silent: true,
                ..Writer::default()
            };
            writer.stmt(statement);
            // As if it had been written without them.
            Some(writer.hash(detail, "statement"))
        }
        _ => None,
    };
    (whole, values)
}

/// Fingerprint of a function that prints something besides what it computes.
pub(crate) fn prints(node: &ast::StmtFunctionDef, detail: Detail) -> Option<Hash> {
    let mut writer = Writer::default();
    writer.function(node);
    (writer.n_prints > 0).then(|| writer.hash(detail, "prints"))
}

/// What tells this constant from other ones, in this process.
pub(crate) fn constant(expression: &Expr) -> Hash {
    let mut writer = Writer::default();
    writer.expr(expression);
    quick(&writer.bytes)
}

/// A statement that is nothing but a text.
fn is_text(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Expr(node) if node.value.is_string_literal_expr())
}

/// The names in an expression that are called otherwise when nothing else is: what they stand for is read in the order in
/// which they stand there, and is a part of the key.
struct FreeNames {
    /// Python's own names, which nothing is read for, and those that the expression binds itself.
    kept: Vec<Name>,
    /// In the order in which they came.
    found: Vec<Name>,
    /// What functions read is in another order.
    n_lambdas: usize,
}

impl FreeNames {
    fn new(expression: &Expr) -> Self {
        let mut names = FreeNames {
            kept: Vec::new(),
            found: Vec::new(),
            n_lambdas: 0,
        };
        look_through(expression, &mut names);
        names
    }

    /// Which of the free names this is.
    fn position(&mut self, name: &str) -> Option<usize> {
        if self.n_lambdas > 0 || name.starts_with("__") {
            return None;
        }
        let name = Name::new(name);
        let is_kept = self.kept.contains(&name) || name.is_builtin() || is_history_name(&name);
        if is_kept {
            return None;
        }
        let known = self.found.iter().position(|found| *found == name);
        Some(known.unwrap_or_else(|| {
            self.found.push(name);
            self.found.len() - 1
        }))
    }
}

impl Look for FreeNames {
    fn expression(&mut self, expression: &Expr) -> bool {
        if let Expr::Name(name) = expression
            && !name.ctx.is_load()
        {
            self.kept.push(Name::new(name.id.as_str()));
        }
        true
    }
}

struct Writer<'a> {
    bytes: Vec<u8>,
    /// Where only the value counts.
    free: Option<FreeNames>,
    /// The functions around, with what their prints may name, once that was asked.
    functions: Vec<(&'a ast::StmtFunctionDef, Option<Option<Vec<&'a str>>>)>,
    /// Statements that only print are left out.
    is_silent: bool,
    n_prints: usize,
}

impl Default for Writer<'_> {
    fn default() -> Self {
        Writer {
            // Few statements need more.
            bytes: Vec::with_capacity(512),
            free: None,
            functions: Vec::new(),
            is_silent: false,
            n_prints: 0,
        }
    }
}

impl<'a> Writer<'a> {
    /// Of what was written, which is of this domain.
    fn hash(&self, detail: Detail, domain: &str) -> Hash {
        if detail.is_everything() {
            return hash_parts(detail, domain, &[&self.bytes]);
        }
        let seed = xxh3_64(domain.as_bytes());
        in_hash(xxh3_128_with_seed(&self.bytes, seed))
    }

    #[cfg_attr(not(target_arch = "wasm32"), inline(always))]
    fn tag(&mut self, tag: &'static str) {
        // Tags are literals of this file, none a prefix-free code by itself, so they carry their length too.
        self.bytes.push(tag.len() as u8);
        self.bytes.extend_from_slice(tag.as_bytes());
    }

    #[inline]
    fn count(&mut self, n: usize) {
        self.bytes.extend_from_slice(&(n as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.reserve(8 + text.len());
        self.count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    fn name(&mut self, name: Option<&ast::Identifier>) {
        self.flag(name.is_some());
        if let Some(name) = name {
            self.text(name.as_str());
        }
    }

    fn body(&mut self, body: &'a [Stmt]) {
        let n_prints = self.n_prints_in(body);
        self.n_prints += n_prints;
        if !self.is_silent || n_prints == 0 {
            self.count(body.len());
            body.iter().for_each(|statement| self.stmt(statement));
            return;
        }
        self.count(body.len() - n_prints);
        for statement in body {
            if !self.only_prints(statement) {
                self.stmt(statement);
            }
        }
    }

    /// How many of these statements of a function may be left out of what it computes.
    fn n_prints_in(&mut self, body: &'a [Stmt]) -> usize {
        if self.functions.is_empty() {
            return 0;
        }
        let mut n_prints = 0;
        for (at, statement) in body.iter().enumerate() {
            if self.only_prints(statement) {
                n_prints += 1;
            } else if at == n_prints && at > 0 && is_text(statement) {
                // Without what stands before it, it would be the docstring.
                return 0;
            }
        }
        n_prints
    }

    fn only_prints(&mut self, statement: &'a Stmt) -> bool {
        let Some(arguments) = printing::printed(statement) else {
            return false;
        };
        for (node, names) in &mut self.functions {
            names.get_or_insert_with(|| printing::printable_names(node));
        }
        let are_known = |names: &Option<Option<Vec<&str>>>| matches!(names, Some(Some(_)));
        self.functions.iter().all(|(_, names)| are_known(names))
            && self.functions.last().is_some_and(|(_, names)| {
                let names = names.iter().flatten().next();
                names.is_some_and(|names| printing::are_plain(arguments, names))
            })
    }

    fn function(&mut self, node: &'a ast::StmtFunctionDef) {
        self.functions.push((node, None));
        self.body(&node.body);
        self.functions.pop();
    }

    fn exprs<'e>(&mut self, exprs: impl ExactSizeIterator<Item = &'e Expr>) {
        self.count(exprs.len());
        for expr in exprs {
            self.expr(expr);
        }
    }

    fn maybe(&mut self, expr: Option<&Expr>) {
        self.flag(expr.is_some());
        if let Some(expr) = expr {
            self.expr(expr);
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt) {
        deeper(|| self.stmt_inner(stmt));
    }

    fn stmt_inner(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(node) => {
                self.tag("def");
                self.flag(node.is_async);
                self.exprs(
                    node.decorator_list
                        .iter()
                        .map(|decorator| &decorator.expression),
                );
                self.text(node.name.as_str());
                self.type_params(node.type_params.as_deref());
                self.parameters(&node.parameters);
                self.maybe(node.returns.as_deref());
                self.function(node);
            }
            Stmt::ClassDef(node) => {
                self.tag("class");
                self.exprs(
                    node.decorator_list
                        .iter()
                        .map(|decorator| &decorator.expression),
                );
                self.text(node.name.as_str());
                self.type_params(node.type_params.as_deref());
                self.flag(node.arguments.is_some());
                if let Some(arguments) = &node.arguments {
                    self.arguments(arguments);
                }
                self.body(&node.body);
            }
            Stmt::Return(node) => {
                self.tag("return");
                self.maybe(node.value.as_deref());
            }
            Stmt::Delete(node) => {
                self.tag("del");
                self.exprs(node.targets.iter());
            }
            Stmt::TypeAlias(node) => {
                self.tag("type");
                self.expr(&node.name);
                self.type_params(node.type_params.as_deref());
                self.expr(&node.value);
            }
            Stmt::Assign(node) => {
                self.tag("=");
                self.exprs(node.targets.iter());
                self.expr(&node.value);
            }
            Stmt::AugAssign(node) => {
                self.tag("op=");
                self.text(node.op.as_str());
                self.expr(&node.target);
                self.expr(&node.value);
            }
            Stmt::AnnAssign(node) => {
                self.tag("ann");
                // `(x): int` is no declaration of `x`.
                self.flag(node.simple);
                self.expr(&node.target);
                self.expr(&node.annotation);
                self.maybe(node.value.as_deref());
            }
            Stmt::For(node) => {
                self.tag("for");
                self.flag(node.is_async);
                self.expr(&node.target);
                self.expr(&node.iter);
                self.body(&node.body);
                self.body(&node.orelse);
            }
            Stmt::While(node) => {
                self.tag("while");
                self.expr(&node.test);
                self.body(&node.body);
                self.body(&node.orelse);
            }
            Stmt::If(node) => {
                self.tag("if");
                self.expr(&node.test);
                self.body(&node.body);
                self.count(node.elif_else_clauses.len());
                for clause in &node.elif_else_clauses {
                    self.maybe(clause.test.as_ref());
                    self.body(&clause.body);
                }
            }
            Stmt::With(node) => {
                self.tag("with");
                self.flag(node.is_async);
                self.count(node.items.len());
                for item in &node.items {
                    self.expr(&item.context_expr);
                    self.maybe(item.optional_vars.as_deref());
                }
                self.body(&node.body);
            }
            Stmt::Match(node) => {
                self.tag("match");
                self.expr(&node.subject);
                self.count(node.cases.len());
                for case in &node.cases {
                    self.pattern(&case.pattern);
                    self.maybe(case.guard.as_deref());
                    self.body(&case.body);
                }
            }
            Stmt::Raise(node) => {
                self.tag("raise");
                self.maybe(node.exc.as_deref());
                self.maybe(node.cause.as_deref());
            }
            Stmt::Try(node) => {
                self.tag("try");
                self.flag(node.is_star);
                self.body(&node.body);
                self.count(node.handlers.len());
                for ExceptHandler::ExceptHandler(handler) in &node.handlers {
                    self.maybe(handler.type_.as_deref());
                    self.name(handler.name.as_ref());
                    self.body(&handler.body);
                }
                self.body(&node.orelse);
                self.body(&node.finalbody);
            }
            Stmt::Assert(node) => {
                self.tag("assert");
                self.expr(&node.test);
                self.maybe(node.msg.as_deref());
            }
            Stmt::Import(node) => {
                self.tag("import");
                self.flag(node.is_lazy);
                self.aliases(&node.names);
            }
            Stmt::ImportFrom(node) => {
                self.tag("from");
                self.flag(node.is_lazy);
                self.count(node.level as usize);
                self.name(node.module.as_ref());
                self.aliases(&node.names);
            }
            Stmt::Global(node) => {
                self.tag("global");
                self.names(&node.names);
            }
            Stmt::Nonlocal(node) => {
                self.tag("nonlocal");
                self.names(&node.names);
            }
            Stmt::Expr(node) => {
                self.tag("expr");
                self.expr(&node.value);
            }
            Stmt::Pass(_) => self.tag("pass"),
            Stmt::Break(_) => self.tag("break"),
            Stmt::Continue(_) => self.tag("continue"),
            Stmt::IpyEscapeCommand(node) => {
                self.tag("escape");
                self.text(node.kind.as_str());
                self.text(&node.value);
            }
        }
    }

    fn names(&mut self, names: &[ast::Identifier]) {
        self.count(names.len());
        for name in names {
            self.text(name.as_str());
        }
    }

    fn aliases(&mut self, aliases: &[ast::Alias]) {
        self.count(aliases.len());
        for alias in aliases {
            self.text(alias.name.as_str());
            self.name(alias.asname.as_ref());
        }
    }

    fn arguments(&mut self, arguments: &Arguments) {
        self.exprs(arguments.args.iter());
        self.count(arguments.keywords.len());
        for keyword in &arguments.keywords {
            self.name(keyword.arg.as_ref());
            self.expr(&keyword.value);
        }
        // `f(*a, k=1)` and `f(k=1, *a)` evaluate in different orders.
        let order = arguments
            .iter_source_order()
            .map(|argument| match argument {
                ast::ArgOrKeyword::Arg(_) => b'a',
                ast::ArgOrKeyword::Keyword(_) => b'k',
            });
        let order: Vec<u8> = order.collect();
        self.bytes.extend_from_slice(&order);
    }

    fn parameter(&mut self, parameter: &ast::Parameter) {
        self.text(parameter.name.as_str());
        self.maybe(parameter.annotation.as_deref());
    }

    fn parameters(&mut self, parameters: &Parameters) {
        for group in [
            &parameters.posonlyargs,
            &parameters.args,
            &parameters.kwonlyargs,
        ] {
            self.count(group.len());
            for parameter in group.iter() {
                self.parameter(&parameter.parameter);
                self.maybe(parameter.default.as_deref());
            }
        }
        for variadic in [&parameters.vararg, &parameters.kwarg] {
            self.flag(variadic.is_some());
            if let Some(parameter) = variadic {
                self.parameter(parameter);
            }
        }
    }

    fn type_params(&mut self, params: Option<&TypeParams>) {
        let params = params.map_or(&[][..], |params| &params.type_params);
        self.count(params.len());
        for param in params {
            match param {
                TypeParam::TypeVar(node) => {
                    self.tag("T");
                    self.text(node.name.as_str());
                    self.maybe(node.bound.as_deref());
                    self.maybe(node.default.as_deref());
                }
                TypeParam::TypeVarTuple(node) => {
                    self.tag("*T");
                    self.text(node.name.as_str());
                    self.maybe(node.default.as_deref());
                }
                TypeParam::ParamSpec(node) => {
                    self.tag("**T");
                    self.text(node.name.as_str());
                    self.maybe(node.default.as_deref());
                }
            }
        }
    }

    fn pattern(&mut self, pattern: &Pattern) {
        deeper(|| match pattern {
            Pattern::MatchValue(node) => {
                self.tag("p=");
                self.expr(&node.value);
            }
            Pattern::MatchSingleton(node) => {
                self.tag("p1");
                self.tag(match node.value {
                    Singleton::None => "None",
                    Singleton::True => "True",
                    Singleton::False => "False",
                });
            }
            Pattern::MatchSequence(node) => {
                self.tag("p[]");
                self.patterns(&node.patterns);
            }
            Pattern::MatchMapping(node) => {
                self.tag("p{}");
                self.exprs(node.keys.iter());
                self.patterns(&node.patterns);
                self.name(node.rest.as_ref());
            }
            Pattern::MatchClass(node) => {
                self.tag("pC");
                self.expr(&node.cls);
                self.patterns(&node.arguments.patterns);
                self.count(node.arguments.keywords.len());
                for keyword in &node.arguments.keywords {
                    self.text(keyword.attr.as_str());
                    self.pattern(&keyword.pattern);
                }
            }
            Pattern::MatchStar(node) => {
                self.tag("p*");
                self.name(node.name.as_ref());
            }
            Pattern::MatchAs(node) => {
                self.tag("pas");
                self.flag(node.pattern.is_some());
                if let Some(inner) = &node.pattern {
                    self.pattern(inner);
                }
                self.name(node.name.as_ref());
            }
            Pattern::MatchOr(node) => {
                self.tag("p|");
                self.patterns(&node.patterns);
            }
        });
    }

    fn patterns(&mut self, patterns: &[Pattern]) {
        self.count(patterns.len());
        for pattern in patterns {
            self.pattern(pattern);
        }
    }

    fn generators(&mut self, generators: &[Comprehension]) {
        self.count(generators.len());
        for generator in generators {
            self.flag(generator.is_async);
            self.expr(&generator.target);
            self.expr(&generator.iter);
            self.exprs(generator.ifs.iter());
        }
    }

    fn expr(&mut self, expr: &Expr) {
        deeper(|| self.expr_inner(expr));
    }

    fn expr_inner(&mut self, expr: &Expr) {
        match expr {
            Expr::BoolOp(node) => {
                self.tag(node.op.as_str());
                self.exprs(node.values.iter());
            }
            Expr::Named(node) => {
                self.tag(":=");
                self.expr(&node.target);
                self.expr(&node.value);
            }
            Expr::BinOp(node) => {
                self.tag("bin");
                self.text(node.op.as_str());
                self.expr(&node.left);
                self.expr(&node.right);
            }
            Expr::UnaryOp(node) => {
                self.tag("un");
                self.text(node.op.as_str());
                self.expr(&node.operand);
            }
            Expr::Lambda(node) => {
                self.tag("lambda");
                self.flag(node.parameters.is_some());
                if let Some(parameters) = &node.parameters {
                    self.parameters(parameters);
                }
                let free = self.free.as_mut();
                free.into_iter().for_each(|free| free.n_lambdas += 1);
                self.expr(&node.body);
                let free = self.free.as_mut();
                free.into_iter().for_each(|free| free.n_lambdas -= 1);
            }
            Expr::If(node) => {
                self.tag("ifexp");
                self.expr(&node.test);
                self.expr(&node.body);
                self.expr(&node.orelse);
            }
            Expr::Dict(node) => {
                self.tag("dict");
                self.count(node.items.len());
                for item in &node.items {
                    self.maybe(item.key.as_ref());
                    self.expr(&item.value);
                }
            }
            Expr::Set(node) => {
                self.tag("set");
                self.exprs(node.elts.iter());
            }
            Expr::ListComp(node) => {
                self.tag("[for]");
                self.expr(&node.elt);
                self.generators(&node.generators);
            }
            Expr::SetComp(node) => {
                self.tag("{for}");
                self.expr(&node.elt);
                self.generators(&node.generators);
            }
            Expr::DictComp(node) => {
                self.tag("{:for}");
                self.maybe(node.key.as_deref());
                self.expr(&node.value);
                self.generators(&node.generators);
            }
            Expr::Generator(node) => {
                self.tag("(for)");
                self.expr(&node.elt);
                self.generators(&node.generators);
            }
            Expr::Await(node) => {
                self.tag("await");
                self.expr(&node.value);
            }
            Expr::Yield(node) => {
                self.tag("yield");
                self.maybe(node.value.as_deref());
            }
            Expr::YieldFrom(node) => {
                self.tag("yieldfrom");
                self.expr(&node.value);
            }
            Expr::Compare(node) => {
                self.tag("cmp");
                self.expr(&node.left);
                self.count(node.ops.len());
                for op in &node.ops {
                    self.text(op.as_str());
                }
                self.exprs(node.comparators.iter());
            }
            Expr::Call(node) => {
                self.tag("call");
                self.expr(&node.func);
                self.arguments(&node.arguments);
            }
            Expr::FString(node) => {
                self.tag("f");
                let mut pieces = Pieces::default();
                for part in node.value.iter() {
                    match part {
                        FStringPart::Literal(literal) => pieces.literal(literal.as_str()),
                        FStringPart::FString(formatted) => pieces.elements(&formatted.elements),
                    }
                }
                pieces.write(self);
            }
            Expr::TString(node) => {
                self.tag("t");
                let mut pieces = Pieces::default();
                for part in node.value.iter() {
                    pieces.elements(&part.elements);
                }
                pieces.write(self);
            }
            Expr::StringLiteral(node) => {
                self.tag("str");
                self.text(node.value.to_str());
            }
            Expr::BytesLiteral(node) => {
                self.tag("bytes");
                let bytes: Vec<u8> = node.value.bytes().collect();
                self.count(bytes.len());
                self.bytes.extend_from_slice(&bytes);
            }
            Expr::NumberLiteral(node) => match &node.value {
                Number::Int(int) => {
                    self.tag("int");
                    self.text(&int.to_string());
                }
                Number::Float(float) => {
                    self.tag("float");
                    self.bytes.extend_from_slice(&float.to_bits().to_le_bytes());
                }
                Number::Complex { real, imag } => {
                    self.tag("complex");
                    self.bytes.extend_from_slice(&real.to_bits().to_le_bytes());
                    self.bytes.extend_from_slice(&imag.to_bits().to_le_bytes());
                }
            },
            Expr::BooleanLiteral(node) => self.tag(if node.value { "True" } else { "False" }),
            Expr::NoneLiteral(_) => self.tag("None"),
            Expr::EllipsisLiteral(_) => self.tag("..."),
            Expr::Attribute(node) => {
                self.tag(".");
                self.expr(&node.value);
                self.text(node.attr.as_str());
            }
            Expr::Subscript(node) => {
                self.tag("[]");
                self.expr(&node.value);
                self.expr(&node.slice);
            }
            Expr::Starred(node) => {
                self.tag("*");
                self.expr(&node.value);
            }
            Expr::Name(node) => {
                let name = node.id.as_str();
                match self.free.as_mut().and_then(|free| free.position(name)) {
                    Some(position) => {
                        self.tag("free");
                        self.count(position);
                    }
                    None => {
                        self.tag("name");
                        self.text(name);
                    }
                }
            }
            Expr::List(node) => {
                self.tag("list");
                self.exprs(node.elts.iter());
            }
            Expr::Tuple(node) => {
                self.tag("tuple");
                self.exprs(node.elts.iter());
            }
            Expr::Slice(node) => {
                self.tag("slice");
                self.maybe(node.lower.as_deref());
                self.maybe(node.upper.as_deref());
                self.maybe(node.step.as_deref());
            }
            Expr::IpyEscapeCommand(node) => {
                self.tag("escape");
                self.text(node.kind.as_str());
                self.text(&node.value);
            }
        }
    }
}

/// The parts of a formatted string, with neighbouring literals joined: `f"a" "b"` is `f"ab"`.
#[derive(Default)]
struct Pieces {
    done: Vec<u8>,
    n_pieces: usize,
    literal: String,
}

impl Pieces {
    fn literal(&mut self, text: &str) {
        self.literal.push_str(text);
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            let mut writer = Writer::default();
            writer.tag("lit");
            writer.text(&self.literal);
            self.done.extend_from_slice(&writer.bytes);
            self.n_pieces += 1;
            self.literal.clear();
        }
    }

    fn elements<'a>(&mut self, elements: impl IntoIterator<Item = &'a InterpolatedStringElement>) {
        for element in elements {
            match element {
                InterpolatedStringElement::Literal(literal) => self.literal(&literal.value),
                InterpolatedStringElement::Interpolation(node) => {
                    self.flush();
                    let mut writer = Writer::default();
                    writer.tag("{}");
                    writer.expr(&node.expression);
                    // `{x=}` prints the text of its expression.
                    writer.text(node.debug_text.as_ref().map_or("", |text| text.as_str()));
                    writer.flag(node.debug_text.is_some());
                    writer.bytes.push(node.conversion.to_byte().unwrap_or(0));
                    writer.flag(node.format_spec.is_some());
                    if let Some(spec) = &node.format_spec {
                        let mut inner = Pieces::default();
                        inner.elements(&spec.elements);
                        inner.write(&mut writer);
                    }
                    self.done.extend_from_slice(&writer.bytes);
                    self.n_pieces += 1;
                }
            }
        }
    }

    fn write(mut self, writer: &mut Writer) {
        self.flush();
        writer.count(self.n_pieces);
        writer.bytes.extend_from_slice(&self.done);
    }
}
