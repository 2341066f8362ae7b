//! Which names a function, class or module body binds: CPython's symbol table in one walk over the body, nested
//! bodies excluded.

use crate::name::Name;
use crate::syntax::{ExceptHandler, Expr, Pattern, Stmt, ast, deeper};
use ast::visitor::{Visitor, walk_except_handler, walk_expr, walk_pattern, walk_stmt};
use rustc_hash::FxHashSet as HashSet;

#[derive(Debug, Default)]
pub(crate) struct Bindings {
    pub bound: HashSet<Name>,
    pub globals: HashSet<Name>,
    pub nonlocals: HashSet<Name>,
}

pub(crate) fn of_body(body: &[Stmt], class: Option<Name>) -> Bindings {
    let mut binder = Binder {
        class,
        found: Bindings::default(),
        comprehension_depth: 0,
    };
    for stmt in body {
        binder.visit_stmt(stmt);
    }
    binder.found
}

pub(crate) fn of_expression(body: &Expr, class: Option<Name>) -> Bindings {
    let mut binder = Binder {
        class,
        found: Bindings::default(),
        comprehension_depth: 0,
    };
    binder.visit_expr(body);
    binder.found
}

/// Private names inside a class carry the name of the class.
pub(crate) fn mangled(name: &str, class: Option<Name>) -> Name {
    if let Some(class) = class
        && name.starts_with("__")
    {
        let class = class.text().trim_start_matches('_');
        if !class.is_empty() && !name.ends_with("__") && !name.contains('.') {
            return Name::new(&format!("_{class}{name}"));
        }
    }
    Name::new(name)
}

struct Binder {
    class: Option<Name>,
    found: Bindings,
    comprehension_depth: usize,
}

impl Binder {
    fn bind(&mut self, name: &str) {
        if !name.is_empty() {
            self.found.bound.insert(mangled(name, self.class));
        }
    }
}

impl<'a> Visitor<'a> for Binder {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(node) => {
                self.bind(node.name.as_str());
                for decorator in &node.decorator_list {
                    self.visit_expr(&decorator.expression);
                }
                for parameter in node.parameters.iter_non_variadic_params() {
                    if let Some(default) = parameter.default.as_deref() {
                        self.visit_expr(default);
                    }
                }
            }
            Stmt::ClassDef(node) => {
                self.bind(node.name.as_str());
                for decorator in &node.decorator_list {
                    self.visit_expr(&decorator.expression);
                }
                if let Some(arguments) = &node.arguments {
                    self.visit_arguments(arguments);
                }
            }
            Stmt::Import(node) => {
                for alias in &node.names {
                    match &alias.asname {
                        Some(name) => self.bind(name.as_str()),
                        None => {
                            self.bind(alias.name.as_str().split('.').next().unwrap_or_default())
                        }
                    }
                }
            }
            Stmt::ImportFrom(node) => {
                for alias in &node.names {
                    if alias.name.as_str() != "*" {
                        self.bind(alias.asname.as_ref().unwrap_or(&alias.name).as_str());
                    }
                }
            }
            Stmt::Global(node) => {
                let class = self.class;
                let names = node.names.iter();
                let names = names.map(|name| mangled(name.as_str(), class));
                self.found.globals.extend(names);
            }
            Stmt::Nonlocal(node) => {
                let class = self.class;
                let names = node.names.iter();
                let names = names.map(|name| mangled(name.as_str(), class));
                self.found.nonlocals.extend(names);
            }
            _ => deeper(|| walk_stmt(self, stmt)),
        }
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(node) = handler;
        if let Some(name) = &node.name {
            self.bind(name.as_str());
        }
        walk_except_handler(self, handler);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(node) if !node.ctx.is_load() && self.comprehension_depth == 0 => {
                self.bind(node.id.as_str())
            }
            Expr::Named(node) => {
                if let Expr::Name(target) = &*node.target {
                    self.bind(target.id.as_str());
                }
                self.visit_expr(&node.value);
            }
            // The body of a lambda is a scope of its own.
            Expr::Lambda(node) => {
                for parameter in node
                    .parameters
                    .iter()
                    .flat_map(|parameters| parameters.iter_non_variadic_params())
                {
                    if let Some(default) = parameter.default.as_deref() {
                        self.visit_expr(default);
                    }
                }
            }
            // Targets stay inside a comprehension; `:=` gets out.
            Expr::ListComp(_) | Expr::SetComp(_) | Expr::DictComp(_) | Expr::Generator(_) => {
                self.comprehension_depth += 1;
                deeper(|| walk_expr(self, expr));
                self.comprehension_depth -= 1;
            }
            _ => deeper(|| walk_expr(self, expr)),
        }
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        match pattern {
            Pattern::MatchAs(node) => {
                self.bind(node.name.as_ref().map_or("", |name| name.as_str()))
            }
            Pattern::MatchStar(node) => {
                self.bind(node.name.as_ref().map_or("", |name| name.as_str()))
            }
            Pattern::MatchMapping(node) => {
                self.bind(node.rest.as_ref().map_or("", |name| name.as_str()))
            }
            _ => {}
        }
        deeper(|| walk_pattern(self, pattern));
    }
}
