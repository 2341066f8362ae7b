//! Expressions and the values they give.

use super::questions::{
    added_to, constant_key, identifiers, item_text, items, literal, target_names,
};
use super::{Scope, ScopeKind, Visitor, tables};
use crate::binder;
use crate::facts::{How, Keys, Kind, Op, Relation, Source, Value};
use crate::fingerprint;
use crate::name::Name;
use crate::syntax::{
    Comprehension, Expr, FStringPart, InterpolatedStringElement, Operator, deeper,
};

/// Names are kept for good, and a text that is being typed is another one at every keystroke. So only what may be a path,
/// a variable of the environment or the name of something is one.
fn may_be_name(text: &str) -> bool {
    text.len() <= 512 && !text.contains('\n')
}

/// What the items of `zip(..)` and `enumerate(..)` are made of, where there is a name for each. `None` is a number.
fn sides<'e>(iterated: &'e Expr, targets: &[Expr]) -> Option<Vec<Option<&'e Expr>>> {
    let Expr::Call(call) = iterated else {
        return None;
    };
    let Expr::Name(callee) = &*call.func else {
        return None;
    };
    let given = &call.arguments.args;
    let sides = match callee.id.as_str() {
        "zip" => given.iter().map(Some).collect(),
        "enumerate" => vec![None, Some(given.first()?)],
        _ => return None,
    };
    let mut starred = given
        .iter()
        .chain(targets)
        .filter(|one| one.is_starred_expr());
    (sides.len() == targets.len() && starred.next().is_none()).then_some(sides)
}

impl Visitor<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Value {
        deeper(|| self.expr_inner(expr))
    }

    pub(super) fn exprs_held(&mut self, exprs: &[Expr]) -> Value {
        let mut held = Value::default();
        for expr in exprs {
            held = held.or(&self.expr(expr).held());
        }
        held
    }

    pub(super) fn expr_inner(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::BoolOp(node) => {
                let mut values = node.values.iter();
                let mut result = values
                    .next()
                    .map(|first| self.expr(first))
                    .unwrap_or_default();
                self.maybe(|this| {
                    for value in values {
                        result = std::mem::take(&mut result).or(&this.expr(value));
                    }
                });
                result
            }
            Expr::Named(node) => {
                let value = self.expr(&node.value);
                if let Expr::Name(target) = &*node.target {
                    self.bind(target.id.as_str(), value.clone());
                }
                value
            }
            Expr::BinOp(node) => {
                let left = self.expr(&node.left);
                let right = self.expr(&node.right);
                if left.kind == Kind::Scalar && right.kind == Kind::Scalar {
                    return Value::scalar();
                }
                let path = match node.op {
                    Operator::Div => self.path_below(&left, &right),
                    _ => Value::default(),
                };
                let operands = left.operand().or(&right.operand());
                Value {
                    text: path.text,
                    below: path.below,
                    ..operands
                }
            }
            Expr::UnaryOp(node) => {
                let operand = self.expr(&node.operand);
                let literal = operand
                    .literal
                    .is_some()
                    .then(|| fingerprint::constant(expr));
                Value {
                    kind: operand.kind,
                    literal,
                    ..Value::default()
                }
            }
            Expr::Lambda(node) => {
                let held = node
                    .parameters
                    .as_ref()
                    .map(|parameters| self.defaults(parameters))
                    .unwrap_or_default();
                let bindings = binder::of_expression(&node.body, self.class_name());
                let id = self.function(node.parameters.as_deref(), bindings, |this| {
                    this.adding_to = added_to(&node.body).map(|name| this.mangled(name));
                    let value = this.expr(&node.body);
                    this.adding_to = None;
                    if let Some(frame) = this.frame() {
                        frame.returns = value;
                    }
                });
                if let Some(parameters) = &node.parameters {
                    self.note_mutable_defaults(id, parameters);
                }
                Value::of(Source::Function(id)).or(&held)
            }
            Expr::If(node) => {
                self.expr(&node.test);
                let mut value = Value::default();
                self.maybe(|this| value = this.expr(&node.body));
                let mut other = Value::default();
                self.maybe(|this| other = this.expr(&node.orelse));
                value.or(&other)
            }
            Expr::Dict(node) => {
                let mut held = Value::default();
                let mut is_constant = true;
                let mut items = Vec::new();
                for item in &node.items {
                    if let Some(key) = &item.key {
                        is_constant &= self.expr(key).literal.is_some();
                    } else {
                        is_constant = false;
                    }
                    let value = self.expr(&item.value);
                    is_constant &= value.literal.is_some();
                    if let (Some(Expr::StringLiteral(key)), Some(literal)) =
                        (&item.key, value.literal)
                    {
                        items.push((tables::column_key(key.value.to_str()), literal));
                    }
                    // `{**d}` holds what is in `d`.
                    let value = match &item.key {
                        Some(_) => value,
                        None => value.element(),
                    };
                    held = held.or(&value.held());
                }
                let mut value = self.display(held, Kind::Dict, is_constant, expr);
                if is_constant && items.len() == node.items.len() {
                    value.items = items;
                }
                value
            }
            Expr::Set(node) => {
                let held = self.exprs_held(&node.elts);
                self.display(held, Kind::Unknown, false, expr)
            }
            Expr::List(node) => {
                let (held, is_constant) = self.elements(&node.elts);
                self.display(held, Kind::List, is_constant, expr)
            }
            Expr::Tuple(node) => {
                let (held, is_constant) = self.elements(&node.elts);
                let kind = if held.sources.is_empty() && is_constant {
                    Kind::Scalar
                } else {
                    Kind::Unknown
                };
                self.display(held, kind, is_constant, expr)
            }
            Expr::ListComp(node) => {
                let held = self.comprehension(&node.generators, &[&node.elt]);
                Value {
                    kind: Kind::List,
                    ..held
                }
            }
            Expr::SetComp(node) => self.comprehension(&node.generators, &[&node.elt]),
            Expr::DictComp(node) => {
                let parts: Vec<&Expr> = node
                    .key
                    .as_deref()
                    .into_iter()
                    .chain(std::iter::once(&*node.value))
                    .collect();
                let held = self.comprehension(&node.generators, &parts);
                Value {
                    kind: Kind::Dict,
                    ..held
                }
            }
            Expr::Generator(node) => {
                let held = self.comprehension(&node.generators, &[&node.elt]);
                Value {
                    kind: Kind::Iterator,
                    ..held
                }
            }
            Expr::Await(node) => self.expr(&node.value),
            Expr::Yield(node) => {
                let value = node
                    .value
                    .as_ref()
                    .map(|value| self.expr(value))
                    .unwrap_or_default();
                if let Some(frame) = self.frame() {
                    frame.is_generator = true;
                    frame.returns = std::mem::take(&mut frame.returns).or(&value.held());
                }
                Value::default()
            }
            Expr::YieldFrom(node) => {
                let value = self.expr(&node.value);
                self.iterate(&value);
                if let Some(frame) = self.frame() {
                    frame.is_generator = true;
                    frame.returns = std::mem::take(&mut frame.returns).or(&value);
                }
                Value::default()
            }
            Expr::Compare(node) => {
                if let [namespace] = &node.comparators[..]
                    && self.is_globals(namespace)
                    && let Some(names) = self.spelled(&node.left)
                {
                    self.looked_up(&names, expr);
                    return Value::default();
                }
                self.expr(&node.left);
                for comparator in &node.comparators {
                    self.expr(comparator);
                }
                Value::default()
            }
            Expr::Call(node) => self.looking_at(|| tables::of_call(node), |this| this.call(node)),
            Expr::FString(node) => {
                for part in node.value.iter() {
                    match part {
                        FStringPart::Literal(literal) => self.string_text(literal.as_str()),
                        FStringPart::FString(formatted) => self.interpolations(&formatted.elements),
                    }
                }
                Value::scalar()
            }
            Expr::TString(node) => {
                for part in node.value.iter() {
                    self.interpolations(&part.elements);
                }
                Value::default()
            }
            Expr::StringLiteral(node) => {
                let text = node.value.to_str();
                self.string_text(text);
                Value {
                    text: may_be_name(text).then(|| Name::new(text)),
                    ..literal(expr)
                }
            }
            Expr::BytesLiteral(_)
            | Expr::NumberLiteral(_)
            | Expr::BooleanLiteral(_)
            | Expr::NoneLiteral(_)
            | Expr::EllipsisLiteral(_) => literal(expr),
            Expr::Attribute(_) | Expr::Subscript(_) | Expr::Name(_) => {
                if let Expr::Subscript(node) = expr
                    && self.is_globals(&node.value)
                    && let Some(names) = self.spelled(&node.slice)
                {
                    return self.looked_up(&names, expr);
                }
                self.chain(expr, None, How::Load)
            }
            Expr::Starred(node) => {
                let value = self.expr(&node.value);
                self.iterate(&value);
                value.element()
            }
            Expr::Slice(node) => {
                for bound in [&node.lower, &node.upper, &node.step].into_iter().flatten() {
                    self.expr(bound);
                }
                Value::default()
            }
            Expr::IpyEscapeCommand(node) => {
                let line = self.line(expr);
                self.escape(node.kind, &node.value, line);
                Value::default()
            }
        }
    }

    /// `globals()`
    pub(super) fn is_globals(&self, expr: &Expr) -> bool {
        let Expr::Call(call) = expr else {
            return false;
        };
        let is_known = |name: &str| {
            name == "globals" || matches!(name, "vars" | "locals") && self.scopes.is_empty()
        };
        call.arguments.is_empty()
            && matches!(&*call.func, Expr::Name(name) if is_known(name.id.as_str()))
    }

    /// The names that an expression may be the text of, if the text of the cell shows it.
    fn spelled(&self, expr: &Expr) -> Option<Box<[Name]>> {
        if let Expr::Name(name) = expr {
            let name = Name::new(name.id.as_str());
            let mut known = self.spelled.iter().rev();
            return known
                .find(|(known, _)| *known == name)
                .map(|one| one.1.clone());
        }
        item_text(constant_key(expr)).map(|name| [name].into())
    }

    /// Names of the namespace that are looked up by their texts.
    fn looked_up(&mut self, names: &[Name], expr: &Expr) -> Value {
        let line = self.line(expr);
        let mut value = Value::default();
        for &name in names {
            self.read_path(name, Keys::new(), How::Load, line);
            value = value.or(&Value::of(Source::Name(name)));
        }
        value
    }

    /// A loop over constant strings begins, and ends when this is cut to its length again.
    pub(super) fn spell(&mut self, target: &Expr, iterated: &Expr) {
        let (Expr::Name(target), Some(texts)) = (target, items(iterated)) else {
            return;
        };
        let name = |text: &Expr| match text {
            Expr::StringLiteral(text) => Some(Name::new(text.value.to_str())),
            _ => None,
        };
        if let Some(names) = texts.iter().map(name).collect::<Option<Box<[Name]>>>() {
            self.spelled.push((Name::new(target.id.as_str()), names));
        }
    }

    /// `folder / 'name'`
    pub(super) fn path_below(&self, folder: &Value, name: &Value) -> Value {
        let mut path = Value::default();
        let Some(name) = name.text else {
            return path;
        };
        let joined = |folder: Name| Name::joined(&[folder.text(), "/", name.text()]);
        if let Some(text) = folder.text {
            path.text = Some(joined(text));
        } else if let Some((root, above)) = folder.below {
            path.below = Some((root, joined(above)));
        } else if let [(Source::Name(root), Relation::Same)] = folder.sources[..] {
            path.below = Some((root, name));
        }
        path
    }

    pub(super) fn elements(&mut self, elements: &[Expr]) -> (Value, bool) {
        let mut held = Value::default();
        let mut is_constant = true;
        for element in elements {
            let value = self.expr(element);
            is_constant &= value.literal.is_some();
            held = held.or(&value.held());
        }
        (held, is_constant)
    }

    pub(super) fn display(&self, held: Value, kind: Kind, is_constant: bool, expr: &Expr) -> Value {
        let literal = is_constant.then(|| fingerprint::constant(expr));
        Value {
            kind,
            literal,
            ..held
        }
    }

    pub(super) fn interpolations<'a>(
        &mut self,
        elements: impl IntoIterator<Item = &'a InterpolatedStringElement>,
    ) {
        for element in elements {
            match element {
                InterpolatedStringElement::Literal(literal) => self.string_text(&literal.value),
                InterpolatedStringElement::Interpolation(node) => {
                    self.expr(&node.expression);
                    if let Some(spec) = &node.format_spec {
                        deeper(|| self.interpolations(&spec.elements));
                    }
                }
            }
        }
    }

    pub(super) fn string_text(&mut self, text: &str) {
        if self.detail.is_everything() {
            identifiers(text).for_each(|name| _ = self.found.string_names.insert(name));
        }
    }

    pub(super) fn comprehension(&mut self, generators: &[Comprehension], parts: &[&Expr]) -> Value {
        let Some(first) = generators.first() else {
            return Value::default();
        };
        let iterated = self.expr(&first.iter);
        self.iterate(&iterated);
        let mut bindings = binder::Bindings::default();
        for generator in generators {
            target_names(&generator.target, &mut |name| {
                bindings.bound.insert(self.mangled(name));
            });
        }
        self.scopes
            .push(Scope::new(ScopeKind::Comprehension, bindings));
        let mut held = Value::default();
        let n_spelled = self.spelled.len();
        self.maybe(|this| {
            let mut iterated = Some(iterated);
            for generator in generators {
                let value = match iterated.take() {
                    Some(value) => value,
                    None => {
                        let value = this.expr(&generator.iter);
                        this.iterate(&value);
                        value
                    }
                };
                this.spell(&generator.target, &generator.iter);
                this.bind_items(
                    &generator.target,
                    &generator.iter,
                    value.element(),
                    &mut |this, target, item| this.bind_in_comprehension(target, &item),
                );
                for condition in &generator.ifs {
                    this.expr(condition);
                }
            }
            for part in parts {
                held = std::mem::take(&mut held).or(&this.expr(part).held());
            }
        });
        self.spelled.truncate(n_spelled);
        self.scopes.pop();
        held
    }

    pub(super) fn bind_in_comprehension(&mut self, target: &Expr, value: &Value) {
        match target {
            Expr::Name(node) => {
                let name = self.mangled(node.id.as_str());
                if let Some(scope) = self.scopes.last_mut() {
                    scope.values.insert(name, value.clone());
                }
            }
            Expr::Tuple(node) => node
                .elts
                .iter()
                .for_each(|target| self.bind_in_comprehension(target, &value.element())),
            Expr::List(node) => node
                .elts
                .iter()
                .for_each(|target| self.bind_in_comprehension(target, &value.element())),
            Expr::Starred(node) => self.bind_in_comprehension(&node.value, value),
            other => self.store(other, value.clone()),
        }
    }

    /// Binds what a loop goes through. Of `zip(a, b)` the first name stands for items of `a`, of `enumerate(a)` the second.
    pub(super) fn bind_items(
        &mut self,
        target: &Expr,
        iterated: &Expr,
        item: Value,
        bind: &mut dyn FnMut(&mut Self, &Expr, Value),
    ) {
        let targets = match target {
            Expr::Tuple(node) => &node.elts[..],
            _ => &[],
        };
        let Some(sides) = sides(iterated, targets) else {
            bind(self, target, item);
            return;
        };
        for (one, side) in targets.iter().zip(sides) {
            match side {
                Some(Expr::Name(name)) => {
                    // Where the loop binds the name anew, it is not what it was.
                    let mut is_bound = false;
                    target_names(target, &mut |bound| is_bound |= bound == name.id.as_str());
                    let own = if is_bound {
                        item.element()
                    } else {
                        self.value_of(self.mangled(name.id.as_str())).element()
                    };
                    bind(self, one, own);
                }
                Some(side) => self.bind_items(one, side, item.element(), bind),
                None => bind(self, one, Value::scalar()),
            }
        }
    }

    pub(super) fn iterate(&mut self, value: &Value) {
        for (source, _) in &value.sources {
            if let Source::Param(function, index) = source {
                self.found.functions[*function].iterates.insert(*index);
            }
        }
        let is_object = |(_, how): &(Source, Relation)| *how != Relation::Operand;
        if value.sources.iter().any(is_object) {
            self.op(Op::Iterate(value.clone()));
        }
    }
}
