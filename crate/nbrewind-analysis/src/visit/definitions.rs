//! Functions and classes: their bodies are frames of their own.

use super::questions::dotted;
use super::{Scope, ScopeKind, Visitor};
use crate::binder;
use crate::facts::{
    CONSTRUCTORS, Call, Callee, ClassFacts, FunctionFacts, FunctionId, Implied, Kind, Op, Source,
    Value,
};
use crate::fingerprint;
use crate::name::Name;
use crate::sorted::Set;
use crate::syntax::{Expr, Parameters, Stmt, TypeParam, TypeParams, ast};
use rustc_hash::FxHashMap as HashMap;

/// Methods that run when something is stored in an object.
const STORES: [&str; 5] = [
    "__setattr__",
    "__delattr__",
    "__setitem__",
    "__delitem__",
    "__set__",
];

/// Special methods that do not run when an object is looked at.
const NOT_LOOKS: [&str; 5] = [
    "__call__",
    "__init_subclass__",
    "__set_name__",
    "__class_getitem__",
    "__del__",
];

/// The last part of a decorator's name.
fn last_of(decorator: &ast::Decorator) -> Option<&str> {
    let called = match &decorator.expression {
        Expr::Call(call) => &*call.func,
        other => other,
    };
    match called {
        Expr::Attribute(node) => Some(node.attr.as_str()),
        Expr::Name(node) => Some(node.id.as_str()),
        _ => None,
    }
}

/// Runs when an attribute is looked at, or stored.
fn is_of_property(decorator: &ast::Decorator) -> bool {
    matches!(
        last_of(decorator),
        Some("property" | "cached_property" | "getter" | "setter" | "deleter")
    )
}

/// Makes a function of which calls are put off.
fn is_late(decorator: &ast::Decorator) -> bool {
    matches!(
        last_of(decorator),
        Some("delayed" | "python_app" | "join_app" | "remote" | "task")
    )
}

impl Visitor<'_> {
    pub(super) fn with_type_params(
        &mut self,
        params: Option<&TypeParams>,
        f: impl FnOnce(&mut Self),
    ) {
        let Some(params) = params else {
            f(self);
            return;
        };
        let mut bindings = binder::Bindings::default();
        for param in &params.type_params {
            bindings.bound.insert(Name::new(match param {
                TypeParam::TypeVar(node) => node.name.as_str(),
                TypeParam::TypeVarTuple(node) => node.name.as_str(),
                TypeParam::ParamSpec(node) => node.name.as_str(),
            }));
        }
        self.scopes
            .push(Scope::new(ScopeKind::TypeParams, bindings));
        for param in &params.type_params {
            let (bound, default) = match param {
                TypeParam::TypeVar(node) => (node.bound.as_deref(), node.default.as_deref()),
                TypeParam::TypeVarTuple(node) => (None, node.default.as_deref()),
                TypeParam::ParamSpec(node) => (None, node.default.as_deref()),
            };
            for expr in [bound, default].into_iter().flatten() {
                self.expr(expr);
            }
        }
        f(self);
        self.scopes.pop();
    }

    pub(super) fn defaults(&mut self, parameters: &Parameters) -> Value {
        let mut held = Value::default();
        for parameter in parameters.iter_non_variadic_params() {
            if let Some(default) = parameter.default.as_deref() {
                held = held.or(&self.expr(default).held());
            }
        }
        held
    }

    /// A default that the body changes is changed for the next call too.
    pub(super) fn note_mutable_defaults(&mut self, id: FunctionId, parameters: &Parameters) {
        let facts = &mut self.found.functions[id];
        let changes_default = parameters.iter_non_variadic_params().any(|parameter| {
            let name = parameter.parameter.name.as_str();
            let is_scalar = parameter.default.as_deref().is_none_or(|default| {
                default.is_literal_expr() || matches!(default, Expr::UnaryOp(_) | Expr::Tuple(_))
            });
            let index = facts.params.iter().position(|param| param.text() == name);
            !is_scalar && index.is_some_and(|index| facts.mutated_params.has(index))
        });
        facts.is_stateful |= changes_default;
        facts.changes_closed_over |= changes_default;
    }

    pub(super) fn annotations(&mut self, parameters: &Parameters, returns: Option<&Expr>) {
        if self.has_lazy_annotations {
            return;
        }
        for parameter in parameters.iter() {
            if let Some(annotation) = parameter.annotation() {
                self.expr(annotation);
            }
        }
        if let Some(returns) = returns {
            self.expr(returns);
        }
    }

    /// Decorating calls the decorators.
    fn decorate(&mut self, decorators: Vec<Value>, function: FunctionId) {
        for decorator in decorators.into_iter().rev() {
            let is_module = |(source, _): &(Source, _)| matches!(source, Source::Module(_));
            if self.in_function() || decorator.sources.iter().all(is_module) {
                continue;
            }
            let id = self.current.n_calls;
            self.current.n_calls += 1;
            self.op(Op::Decorate(Box::new(Call {
                id,
                callee: Callee::Other(decorator),
                arguments: vec![(None, Value::of(Source::Function(function)))],
                is_inplace: false,
                columns: Box::default(),
            })));
        }
    }

    pub(super) fn function_def(&mut self, node: &ast::StmtFunctionDef) {
        let mut held = Value::default();
        let mut decorators = Vec::new();
        for decorator in &node.decorator_list {
            let value = self.expr(&decorator.expression);
            held = held.or(&value.held());
            if !is_of_property(decorator) {
                decorators.push(value);
            }
        }
        held = held.or(&self.defaults(&node.parameters));
        let mut id = 0;
        self.with_type_params(node.type_params.as_deref(), |this| {
            this.annotations(&node.parameters, node.returns.as_deref());
            let bindings = binder::of_body(&node.body, this.class_name());
            id = this.function(Some(&node.parameters), bindings, |this| {
                this.body(&node.body)
            });
            this.note_mutable_defaults(id, &node.parameters);
        });
        if self.found.functions[id].calls.has(Name::new("print")) {
            let prints = fingerprint::prints(node, self.detail);
            if let Some(prints) = prints {
                self.found.functions[id].prints.insert(prints);
            }
        }
        for decorator in &node.decorator_list {
            let called = match &decorator.expression {
                Expr::Call(call) => dotted(&call.func),
                other => dotted(other),
            };
            if let Some(called) = called {
                self.found.functions[id].calls.insert(called);
            }
        }
        self.found.functions[id].is_late = node.decorator_list.iter().any(is_late);
        if let Some(scope) = self.scopes.last_mut()
            && scope.kind == ScopeKind::Class
        {
            let name = Name::new(node.name.as_str());
            let getter = scope.methods.get(name).copied();
            scope.methods.insert(name, id);
            if node.decorator_list.iter().any(is_of_property) {
                scope.implied.insert(name);
                // `@x.setter` adds to the property.
                if let Some(getter) = getter {
                    self.do_also(id, getter);
                }
            }
        }
        let value = Value::of(Source::Function(id)).or(&held);
        self.decorate(decorators, id);
        self.bind(node.name.as_str(), value);
        self.registered(&node.decorator_list, id);
    }

    /// Running the one may be running the other one, with the same arguments.
    fn do_also(&mut self, id: FunctionId, other: FunctionId) {
        if id == other {
            return;
        }
        let mut facts = std::mem::take(&mut self.found.functions[id]);
        let other = &self.found.functions[other];
        facts.do_also(other);
        facts.mutated_params.add_all(&other.mutated_params);
        facts.deep_params.add_all(&other.deep_params);
        facts.changes_attributes.add_all(&other.changes_attributes);
        self.found.functions[id] = facts;
    }

    /// `@f.register` and `@app.route('/')` hand the definition to what they belong to, which keeps it.
    fn registered(&mut self, decorators: &[ast::Decorator], id: FunctionId) {
        for decorator in decorators {
            let callee = match &decorator.expression {
                Expr::Call(call) => &*call.func,
                other => other,
            };
            let Expr::Attribute(attribute) = callee else {
                continue;
            };
            let Expr::Name(receiver) = &*attribute.value else {
                continue;
            };
            // `@add.register` in a class, and for a function of this cell: one more way in which that one runs.
            if attribute.attr.as_str() == "register" {
                let name = self.mangled(receiver.id.as_str());
                let method = self.scopes.last().and_then(|scope| scope.methods.get(name));
                if let Some(&general) = method.or_else(|| self.found.named_functions.get(name)) {
                    self.do_also(general, id);
                }
            }
            // Those of properties give a new property.
            let is_property = matches!(attribute.attr.as_str(), "setter" | "getter" | "deleter");
            let receiver = self.mangled(receiver.id.as_str());
            if !receiver.is_empty() && !is_property && !self.is_module(receiver) {
                let target = self.value_of(receiver);
                self.mutate(target, None, Value::of(Source::Function(id)));
            }
        }
    }

    /// Walks a function's body in a frame of its own. A function inside a function counts as called by it.
    pub(super) fn function(
        &mut self,
        parameters: Option<&Parameters>,
        mut bindings: binder::Bindings,
        body: impl FnOnce(&mut Self),
    ) -> FunctionId {
        let id = self.found.functions.len();
        let mut facts = FunctionFacts::default();
        let mut values = HashMap::default();
        if let Some(parameters) = parameters {
            let positional = parameters.posonlyargs.iter().chain(&parameters.args);
            let positional = positional.map(|parameter| parameter.parameter.name.as_str());
            let vararg = parameters
                .vararg
                .iter()
                .map(|parameter| parameter.name.as_str());
            let keyword = parameters
                .kwonlyargs
                .iter()
                .map(|parameter| parameter.parameter.name.as_str());
            let kwarg = parameters
                .kwarg
                .iter()
                .map(|parameter| parameter.name.as_str());
            let names: Box<[Name]> = positional
                .chain(vararg)
                .chain(keyword)
                .chain(kwarg)
                .map(|name| self.mangled(name))
                .collect();
            if parameters.vararg.is_some() {
                facts.vararg = Some(parameters.posonlyargs.len() + parameters.args.len());
            }
            for (index, &name) in names.iter().enumerate() {
                bindings.bound.insert(name);
                values.insert(name, Value::of(Source::Param(id, index)));
            }
            facts.params = names;
        }
        self.found.functions.push(facts);
        let mut scope = Scope::new(ScopeKind::Function, bindings);
        scope.values = values;
        self.scopes.push(scope);
        let has_nonlocals = self
            .scopes
            .last()
            .is_some_and(|scope| !scope.bindings.nonlocals.is_empty());
        self.found.functions[id].is_stateful = has_nonlocals;
        self.found.functions[id].changes_closed_over = has_nonlocals;
        self.frames.push(id);
        let conditions = std::mem::take(&mut self.n_conditions);
        body(self);
        self.n_conditions = conditions;
        self.frames.pop();
        self.scopes.pop();
        if self.in_function() {
            self.merge_into_frame(id);
        }
        id
    }

    pub(super) fn merge_into_frame(&mut self, id: FunctionId) {
        let Some(&frame) = self.frames.last() else {
            return;
        };
        let mut outer = std::mem::take(&mut self.found.functions[frame]);
        // A function that is handed itself does nothing more.
        if id != frame {
            let inner = &self.found.functions[id];
            outer.do_also(inner);
            outer.passed_on.extend_from_slice(&inner.passed_on);
        }
        self.found.functions[frame] = outer;
    }

    pub(super) fn class_def(&mut self, node: &ast::StmtClassDef) {
        let mut held = Value::default();
        let mut decorators = Vec::new();
        for decorator in &node.decorator_list {
            let value = self.expr(&decorator.expression);
            held = held.or(&value.held());
            decorators.push(value);
        }
        let mut bases = Vec::new();
        let mut class = 0;
        self.with_type_params(node.type_params.as_deref(), |this| {
            if let Some(arguments) = &node.arguments {
                for base in &arguments.args {
                    held = std::mem::take(&mut held).or(&this.referred(base).held());
                    match base {
                        Expr::Name(name) if name.id.as_str() == "object" => {}
                        Expr::Name(name) => bases.push(this.mangled(name.id.as_str())),
                        _ => bases.push(Name::default()),
                    }
                }
                for keyword in &arguments.keywords {
                    held = std::mem::take(&mut held).or(&this.expr(&keyword.value).held());
                    let is_class = keyword.arg.as_ref().is_some_and(|name| name == "metaclass");
                    bases.push(match &keyword.value {
                        Expr::Name(name) if is_class => this.mangled(name.id.as_str()),
                        _ => Name::default(),
                    });
                }
            }
            let name = this.mangled(node.name.as_str());
            let bindings = binder::of_body(&node.body, Some(name));
            let mut scope = Scope::new(ScopeKind::Class, bindings);
            scope.class_name = Some(name);
            this.scopes.push(scope);
            this.body(&node.body);
            let Some(mut scope) = this.scopes.pop() else {
                return;
            };
            let is_plain = |name: &str| {
                !matches!(
                    name,
                    "__setattr__" | "__getattr__" | "__getattribute__" | "__setitem__"
                )
            };
            let has_descriptors = node.body.iter().any(|stmt| match stmt {
                Stmt::FunctionDef(method) => !method.decorator_list.is_empty(),
                Stmt::Assign(assign) => assign.value.is_call_expr(),
                _ => false,
            });
            let mut facts = FunctionFacts::default();
            let (mut kept, mut changed) = (Set::default(), Set::default());
            // What class attributes hold lives as long as the class.
            let mut attributes: Vec<(Name, &Value)> = Vec::new();
            #[allow(clippy::iter_over_hash_type, reason = "they are put in order")]
            for (&attribute, value) in &scope.values {
                attributes.push((attribute, value));
            }
            attributes.sort_unstable_by_key(|(attribute, _)| *attribute);
            let mut shared = Set::default();
            let is_record = node.decorator_list.iter().any(|decorator| {
                matches!(last_of(decorator), Some("dataclass" | "define" | "frozen"))
            });
            // What makes the defaults of a record runs when one is made.
            let mut made = FunctionFacts::default();
            for call in node.body.iter().filter(|_| is_record).filter_map(|stmt| {
                let field = stmt.as_ann_assign_stmt()?;
                field.value.as_ref()?.as_call_expr()
            }) {
                for keyword in &call.arguments.keywords {
                    for (source, _) in this.referred(&keyword.value).sources {
                        match source {
                            Source::Function(id) => made.do_also(&this.found.functions[id]),
                            Source::Name(name) => {
                                made.reads.insert(name);
                                made.calls.insert(name);
                            }
                            _ => {}
                        }
                    }
                }
            }
            for (attribute, value) in attributes {
                if !scope.methods.has(attribute) {
                    if value.kind != Kind::Scalar {
                        shared.insert(attribute);
                    }
                    held = std::mem::take(&mut held).or(&value.held());
                }
            }
            if !made.reads.is_empty() {
                let last = Name::new(CONSTRUCTORS[2]);
                match scope.methods.get(last) {
                    Some(&own) => this.found.functions[own].do_also(&made),
                    None => {
                        scope.methods.insert(last, this.found.functions.len());
                        this.found.functions.push(made);
                    }
                }
            }
            let mut behaviour = FunctionFacts::default();
            let (mut looks, mut stores) = (FunctionFacts::default(), FunctionFacts::default());
            let mut has_stores = false;
            let mut changing_looks = Set::default();
            for &(method_name, method) in scope.methods.iter() {
                let method = &this.found.functions[method];
                if matches!(method_name.text(), "__init_subclass__" | "__set_name__") {
                    // They run where classes are made.
                    continue;
                }
                facts.do_also(method);
                kept.add_all(&method.keeps_attributes);
                changed.add_all(&method.changes_attributes);
                if !CONSTRUCTORS.contains(&method_name.text()) {
                    behaviour.do_also(method);
                    let name = method_name.text();
                    let is_store = STORES.contains(&name);
                    if is_store || scope.implied.has(method_name) {
                        stores.do_also(method);
                        has_stores = true;
                    }
                    let is_special = name.starts_with("__") && name.ends_with("__");
                    let is_look = is_special && !is_store && !NOT_LOOKS.contains(&name);
                    if scope.implied.has(method_name) || is_look {
                        looks.do_also(method);
                        // `+=` and the like, contexts and stores are followed where they stand.
                        let is_apart = scope.implied.has(method_name) && method.params.len() > 1
                            || matches!(
                                name,
                                "__enter__" | "__exit__" | "__aenter__" | "__aexit__"
                            )
                            || is_special && name.starts_with("__i") && name != "__iter__";
                        if !is_apart && method.mutated_params.has(0) {
                            changing_looks.insert(method_name);
                        }
                    }
                }
                // Position 0 is the object itself, which the caller of the class does not pass.
                // Constructors are asked themselves where it matters.
                for &index in &method.mutated_params {
                    if index > 0 {
                        facts.mutated_params.insert(index - 1);
                    }
                }
            }
            facts.class = Some(ClassFacts {
                name,
                changing_looks,
                changes_given: changed.iter().any(|name| {
                    // What a property gives is of what the object keeps.
                    is_record || kept.has(*name) || scope.methods.has(*name)
                }) || scope.methods.has(Name::new(STORES[0])),
                changes_shared: changed.iter().any(|name| shared.has(*name)),
                shared,
                behaviour: this.found.functions.len(),
                has_plain_attributes: bases.is_empty()
                    && !has_descriptors
                    && scope.methods.iter().all(|(name, _)| is_plain(name)),
                bases: std::mem::take(&mut bases),
                methods: scope.methods,
            });
            let first = this.found.functions.len() + 1;
            behaviour.implied = Some(Implied {
                looks: first,
                stores: first + 1,
                has_stores,
            });
            this.found.functions.push(behaviour);
            this.found.functions.push(looks);
            this.found.functions.push(stores);
            class = this.found.functions.len();
            this.found.functions.push(facts);
        });
        let value = Value::of(Source::Function(class)).or(&held);
        self.decorate(decorators, class);
        self.bind(node.name.as_str(), value);
        self.registered(&node.decorator_list, class);
    }
}
