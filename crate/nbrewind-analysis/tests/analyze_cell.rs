//! What one cell reads, writes and touches.

use nbrewind_analysis::{CellEffects, StatementKind, analyze_cell};

fn check_reads(source: &str, reads: &str) {
    check(source, "reads", &analyze_cell(source).reads, reads);
}

fn check_writes(source: &str, writes: &str) {
    check(source, "writes", &analyze_cell(source).writes, writes);
}

fn check_mutates(source: &str, mutates: &str) {
    check(source, "mutates", &analyze_cell(source).mutates, mutates);
}

fn check(source: &str, what: &str, found: &[String], expected: &str) {
    assert_eq!(found.join(" "), expected, "{what} of {source:?}");
}

fn constructs(notes: &[nbrewind_analysis::Note]) -> Vec<&str> {
    notes.iter().map(|note| note.construct.as_str()).collect()
}

fn same(left: &str, right: &str) {
    assert_eq!(
        analyze_cell(left).fingerprint,
        analyze_cell(right).fingerprint,
        "{left:?} and {right:?}"
    );
}

fn different(left: &str, right: &str) {
    assert_ne!(
        analyze_cell(left).fingerprint,
        analyze_cell(right).fingerprint,
        "{left:?} and {right:?}"
    );
}

#[test]
fn a_name_bound_before_is_no_read() {
    check_reads("x = 1\nprint(x)", "print");
    check_reads("print(x)\nx = 1", "print x");
    check_reads("if c:\n    x = 1\nprint(x)", "c print x");
    check_reads("if c:\n    x = 1\nelse:\n    x = 2\nprint(x)", "c print");
    check_reads(
        "for i in r:\n    t = i\n    print(t)\nprint(t)",
        "print r t",
    );
    check_reads("try:\n    x = f()\nexcept E:\n    pass\nx", "E f x");
    check_reads("with open('f') as fh:\n    d = fh.read()\nd", "open");
}

#[test]
fn scopes_follow_python() {
    check_reads("[x for x in xs if x > k]", "k xs");
    check_reads("class A:\n    y = k\n    def m(self): return y", "k");
    check_reads("def f(a=k): return a + g", "k");
    check_reads("def f(a): return a + g\nf(1)", "g");
    check_reads("x: int", "int");
    check_reads("from __future__ import annotations\nx: T = 1", "");
    check_reads("def f[T](x: T) -> U: ...", "U");
    check_reads("class C:\n    def m(self):\n        return __p", "");
    check_reads("class C:\n    def m(self): return __class__\nC", "");
    check_writes("[y := x for x in xs]", "y");
    check_writes(
        "match v:\n    case (p, *q): pass\n    case {'k': r, **s}: pass",
        "p q r s",
    );
    check_writes("import a.b.c, d.e as f\nfrom g import h as i", "a f i");
    check_writes("x: int", "");
    check_writes("a = b = c, *d = e", "a b c d");
    check_writes("def f():\n    global n\n    n = 1\nf()", "f n");
    assert_eq!(
        analyze_cell("try: pass\nexcept E as e: pass").deletes,
        ["e"]
    );
    let effects = analyze_cell(
        "def outer():\n    def inner():\n        nonlocal c\n        c = k\n    c = 0\n    return inner",
    );
    assert_eq!(effects.functions["outer"].reads, ["k"]);
    assert!(effects.functions["outer"].writes.is_empty());
}

#[test]
fn changing_an_object_is_a_mutation() {
    check_mutates("l.append(1)", "l");
    check_mutates("d['a'] = 1; o.b = 2; x += 1", "d o x");
    check_mutates("df.head(); df.sum(); len(df); print(df); np.mean(a)", "");
    check_mutates("df.sort_values('a', inplace=True)", "df");
    check_mutates("df.sort_values('a', inplace=False)", "");
    check_mutates("m = l\nm.append(1)", "l m");
    check_mutates("mystery(x)", "x");
    check_mutates(
        "np.copyto(a, b); random.shuffle(l); heapq.heappush(h, 1); next(it)",
        "a h it l",
    );
    check_mutates("setattr(o, 'q', 1)", "o");
    check_mutates("def app(l, x): l.append(x)\napp(m, n)", "m");
    check_mutates("t.add_(1); model.fit(X)", "model t");
    let effects = analyze_cell("def f(a, b):\n    b.append(a)\n    g.add(1)");
    assert_eq!(effects.functions["f"].mutated_params, [1]);
    assert_eq!(effects.functions["f"].mutates, ["g"]);
}

#[test]
fn comments_and_layout_do_not_count_in_the_fingerprint() {
    same("x = 1", "x=1  # comment");
    same("f(a,\n  b)", "f(a, b)\n");
    same("'a' \"b\"", "'ab'");
    same("(x)", "x");
    same("x = (1, 2)", "x = 1, 2");
    same("x = 1\r\ny = '''a\r\nb'''", "x = 1\ny = '''a\nb'''");
    same("\u{feff}x = 1", "x = 1");
    same("", "# only a comment");
    same("f'a' 'b{x}'", "f'ab{{x}}'");
    same("x = 1_000", "x = 1000");
    different("1", "1.0");
    different("1", "True");
    different("x", "x;");
    different("f'{x}'", "f'{x!r}'");
    different("f'{x}'", "f'{x:>3}'");
    different(
        "def f():\n    'doc'\n    return 1",
        "def f():\n    return 1",
    );
    different("def f(): pass", "async def f(): pass");
    different("%matplotlib inline", "%matplotlib widget");
    different("%%time\nx = 1", "x = 1");
    different("a = 'x\\r\\ny'", "a = 'x\\ny'");
    different("(a, b), c", "a, (b, c)");
    different("x = [1, [2]]", "x = [[1], 2]");
    different("if a:\n    b\nc", "if a:\n    b\n    c");
    different("f(a)(b)", "f(a, b)");
    different("def f(a, /): pass", "def f(a): pass");
    different("def f[T](): pass", "def f(): pass");
    different("x = (", "x = ( ");
    same("%%time\nx = 1  # c", "%%time\nx  =  1");
    different("%%bash\nls", "%%bash\nls ");
}

#[test]
fn statements_are_slices_of_the_source() {
    let check = |source: &str, expected: &[&str]| {
        let effects = analyze_cell(source);
        let slices: Vec<&str> = effects
            .statements
            .iter()
            .map(|s| &source[s.start..s.end])
            .collect();
        assert_eq!(slices, expected, "{source:?}");
    };
    check(
        "x = 1; y = 'é'\r\n@dec\r\ndef f():\r\n    pass\r\n\r\nz",
        &["x = 1", "y = 'é'", "@dec\r\ndef f():\r\n    pass", "z"],
    );
    check("%%time\nx = 1\nprint(x)", &["x = 1", "print(x)"]);
    check("\u{feff}x = 1", &["x = 1"]);
    check("  x = 1\n  y = 2", &["x = 1", "y = 2"]);
    check(
        "%matplotlib inline\n!ls\nobj?",
        &["%matplotlib inline", "!ls", "obj?"],
    );
    check("%%bash\nls", &["%%bash\nls"]);
    check("(x)\n[\n 1]", &["(x)", "[\n 1]"]);
}

#[test]
fn statements_have_kinds() {
    let kind = |source: &str| analyze_cell(source).statements[0].kind;
    assert_eq!(kind("import a"), StatementKind::Import);
    assert_eq!(
        kind("try:\n    import a\nexcept ImportError:\n    import b as a"),
        StatementKind::Import
    );
    assert_eq!(
        kind("try:\n    import a\nexcept ImportError:\n    a = None"),
        StatementKind::Other
    );
    assert_eq!(kind("pd.set_option('a', 1)"), StatementKind::Config);
    assert_eq!(kind("random.seed(1)"), StatementKind::Other);
    assert_eq!(kind("%matplotlib inline"), StatementKind::Magic);
    assert_eq!(kind("%run a.py"), StatementKind::Other);
    assert_eq!(kind("class A: pass"), StatementKind::Definition);
    assert_eq!(
        analyze_cell("import pandas as p\np.set_option('a', 1)").statements[1].kind,
        StatementKind::Config
    );
    let effects = analyze_cell("math.kk = 1\nplt.plot(x)");
    assert_eq!(effects.statements[0].attribute_stores, ["math.kk"]);
    assert_eq!(
        effects.statements[1].discarded_call.as_deref(),
        Some("plt.plot")
    );
    let effects = analyze_cell("a = 1\nb = a");
    assert_eq!(effects.statements[1].reads, ["a"]);
}

#[test]
fn magics_are_understood() {
    check_writes("%time x = 1", "x");
    check_writes("x = !ls", "x");
    check_writes("%%capture out\ny = 1", "out y");
    check_writes("%timeit z = f(a)", "");
    check_reads("%timeit -n 10 f(a)", "a f");
    check_reads("!echo {a.b} $c", "a c");
    check_reads("obj?", "obj");
    check_reads("%%timeit\nz = a + z0", "a z0");
    let unknown = |source: &str| !analyze_cell(source).unknown.is_empty();
    for source in [
        "%run f.py",
        "%reset -f",
        "%store -r x",
        "%load f.py",
        "%env X=1",
        "%cd ..",
        "%%bash\nls",
        "%%cython\nx",
        "%sql select",
    ] {
        assert!(unknown(source), "{source:?} is unknown");
    }
    for source in [
        "%matplotlib inline",
        "%load_ext autoreload",
        "%%html\n<b>",
        "%%writefile f.py\nx = (",
        "!ls",
        "%time x = 1",
        "obj?",
    ] {
        assert!(!unknown(source), "{source:?} is not unknown");
    }
    assert_eq!(analyze_cell("%%writefile f.py\nx").files_written, ["f.py"]);
    assert_eq!(constructs(&analyze_cell("!ls -l").marks.process), ["!ls"]);
}

#[test]
fn what_cannot_be_known_is_said() {
    let unknown = |source: &str| constructs(&analyze_cell(source).unknown).join(" ");
    assert_eq!(unknown("exec(code)"), "exec");
    assert_eq!(unknown("exec('u = 1')"), "");
    check_writes("exec('u = 1')", "u");
    check_reads("eval('a + b')", "a b eval");
    assert_eq!(unknown("globals()['g'] = 1"), "globals()");
    check_writes("globals()['g'] = 1", "g");
    assert_eq!(unknown("from x import *"), "from x import *");
    assert_eq!(unknown("setattr(o, name, 1)"), "setattr");
    assert_eq!(unknown("vars(); dir()"), "dir() vars()");
    assert_eq!(unknown("vars(o)"), "");
    assert_eq!(unknown("builtins.len = f"), "builtins.len");
    assert_eq!(unknown("importlib.reload(m)"), "importlib.reload");
    assert_eq!(unknown("import sys\nsys.modules"), "sys.modules");
    assert_eq!(
        unknown("get_ipython().run_line_magic('run', 'x')"),
        "get_ipython"
    );
}

#[test]
fn marks_name_what_is_touched_outside() {
    let marks = |source: &str| analyze_cell(source).marks;
    assert_eq!(
        constructs(&marks("from datetime import datetime as dt\ndt.now()").nondeterministic),
        ["dt.now"]
    );
    assert_eq!(
        constructs(&marks("np.random.rand(3); np.random.default_rng()").nondeterministic),
        ["np.random.rand", "numpy.random.default_rng"]
    );
    assert!(
        marks("np.random.default_rng(1)")
            .nondeterministic
            .is_empty()
    );
    assert_eq!(
        constructs(&marks("os.environ['A']").environment),
        ["os.environ"]
    );
    assert_eq!(
        constructs(&marks("subprocess.run(['ls'])").process),
        ["subprocess.run"]
    );
    assert_eq!(
        constructs(&marks("requests.get(u)").network),
        ["requests.get"]
    );
    assert_eq!(
        constructs(&marks("@numba.njit\ndef f(): pass").reads_source),
        ["numba.njit"]
    );
    assert_eq!(
        constructs(&marks("Out[3] + _ + _i3").history),
        ["Out", "_", "_i3"]
    );
    assert!(marks("for _ in r: pass\n_").history.is_empty());
    assert!(
        marks("def f(time): return time.time()")
            .nondeterministic
            .is_empty()
    );
}

#[test]
fn files_by_literal_path() {
    let files = |source: &str| -> (Vec<String>, Vec<String>) {
        let CellEffects {
            files_read,
            files_written,
            ..
        } = analyze_cell(source);
        (files_read, files_written)
    };
    let pair = |read: &[&str], written: &[&str]| {
        (
            read.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
            written.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        files("open('a').read(); open('b', 'w').write(s)"),
        pair(&["a"], &["b"])
    );
    assert_eq!(files("open('c', 'a')"), pair(&["c"], &["c"]));
    assert_eq!(
        files("df = pd.read_csv('x.csv'); df.to_parquet('y')"),
        pair(&["x.csv"], &["y"])
    );
    assert_eq!(
        files("np.save('a.npy', x); np.load('b.npy')"),
        pair(&["b.npy"], &["a.npy"])
    );
    assert_eq!(
        files(
            "from pathlib import Path\np = Path('t.txt')\np.write_text('a')\nq = Path('u').read_text()"
        ),
        pair(&["u"], &["t.txt"])
    );
}

#[test]
fn broken_code_gives_partial_facts() {
    let effects = analyze_cell("x = 1\ny = (");
    assert_eq!(effects.parse_errors.len(), 1);
    assert!(effects.writes.contains(&"x".to_owned()));
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    for source in [
        format!("x = {}1{}", "(".repeat(5000), ")".repeat(5000)),
        format!("x = {}1", "-".repeat(50_000)),
        format!("x = {}1", "not ".repeat(50_000)),
        format!("x = 1{}", " + 1".repeat(50_000)),
        format!("x = a{}", ".b".repeat(50_000)),
        format!("x = a{}", "()".repeat(50_000)),
        format!("x = {}1", "lambda: ".repeat(50_000)),
        format!("x = {}", "f'{".repeat(3_000)),
        (0..3_000)
            .map(|depth| format!("{}if x:\n", " ".repeat(depth)))
            .collect(),
        format!("x = 1{}", " if a else 2".repeat(50_000)),
        format!("x = {}", "{".repeat(50_000)),
        format!("x = 2{}", " ** 2".repeat(50_000)),
    ] {
        let effects = analyze_cell(&source);
        assert!(
            !effects.unknown.is_empty() || !effects.parse_errors.is_empty(),
            "{}",
            &source[..20]
        );
    }
    // Brackets and quotes inside strings are no nesting.
    let texts = "print(f\"{x}('\", '(', f'{a[\"b\"]}', \"\"\"((\"\"\")\n".repeat(1_000);
    assert!(analyze_cell(&texts).parse_errors.is_empty());
    let wide = format!("x = [{}]", "-1, 'a b', f(x.y), ".repeat(5_000));
    assert!(analyze_cell(&wide).parse_errors.is_empty());
}

#[test]
fn no_prefix_of_a_source_panics() {
    let sources = [
        "%%time\nx = !ls {a}\n@dec(1)\nasync def f(a, /, b: int = 1, *c, d=2, **e) -> T:\n    'doc é'\n    async with a as (b, *c): yield b\n",
        "class A[T: int](B, metaclass=M):\r\n\tx: int = 3\r\n\tdef __init__(self):\r\n\t\tself.__y = f'{x!r:>{w}} {{}}'\r\n",
        "match v:\n    case {'a': [1, *rest], **kw} if g(x := 3): del a[0], b.c\n    case P(x=1) | None: ...\n",
        "globals()['g'] = [i for i in (lambda x: x)(y) if i]\ntry:\n    exec('u = 1')\nexcept* E as e:\n    raise X from e\nelse: a @= b\nfinally: ...\n",
        "\u{feff}  import a.b as c; from .d import *\n  %timeit -n 1 x\n  obj.y??\n  /f a b\n  ,g c\n",
    ];
    for source in sources {
        for (end, _) in source.char_indices() {
            let effects = analyze_cell(&source[..end]);
            assert_eq!(effects.fingerprint.len(), 64);
            for statement in &effects.statements {
                assert!(source[..end].get(statement.start..statement.end).is_some());
            }
        }
    }
}
