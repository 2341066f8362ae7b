//! The dataflow graph in its formats.

use nbrewind_analysis::{CellInput, GraphFormat, analyze_notebook, graph};

fn cells(sources: &[&str]) -> Vec<CellInput> {
    let named = sources.iter().enumerate();
    named
        .map(|(at, source)| CellInput {
            id: format!("c{at}"),
            source: (*source).to_owned(),
            tags: Vec::new(),
        })
        .collect()
}

fn edges(sources: &[&str]) -> Vec<String> {
    let found = analyze_notebook(&cells(sources)).edges;
    found
        .into_iter()
        .map(|edge| format!("{}-{}->{}", edge.from, edge.name, edge.to))
        .collect()
}

#[test]
fn edges_go_from_definitions_to_uses() {
    assert_eq!(
        edges(&["x = 1", "y = x", "print(x, y)"]),
        ["c0-x->c1", "c0-x->c2", "c1-y->c2"]
    );
    assert_eq!(edges(&["x = 1", "x = 2", "print(x)"]), ["c1-x->c2"]);
    assert_eq!(
        edges(&["def f(): return k", "k = 1", "f()"]),
        ["c0-f->c2", "c1-k->c2"]
    );
    assert_eq!(edges(&["open('f', 'w')", "open('f')"]), ["c0-f->c1"]);
}

#[test]
fn every_format_names_cells_and_edges() {
    let cells = cells(&["x = '<&\">'", "print(x)  # \\ \u{1b}", ""]);
    assert!(graph(&cells, GraphFormat::Mermaid).contains("c1 -- \"x\" --> c2"));
    assert!(graph(&cells, GraphFormat::Dot).contains("c1 -> c2 [label=\"x\"]"));
    let json = graph(&cells, GraphFormat::Json);
    assert!(
        json.contains(r#"{"from":"c0","to":"c1","names":["x"]}"#),
        "{json}"
    );
    let svg = graph(&cells, GraphFormat::Svg);
    assert!(
        svg.starts_with("<svg") && svg.contains("&lt;&amp;&quot;&gt;") && !svg.contains('\u{1b}')
    );
    assert_eq!(
        "png".parse::<GraphFormat>().unwrap_err().to_string(),
        "graph format \"png\" is not known; use mermaid, dot, json or svg"
    );
}
