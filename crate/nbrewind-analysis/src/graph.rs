//! The dataflow graph for people and tools: Mermaid, Graphviz, JSON and a picture that needs no other program.

use crate::drawing::{self, DrawnCell, DrawnEdge, shortened};
use crate::notebook::{CellInput, analyze_notebook};
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphFormat {
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// Nodes and edges.
    Json,
    /// A picture.
    Svg,
}

/// The format has another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(pub String);

impl std::fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "graph format {:?} is not known; use mermaid, dot, json or svg",
            self.0
        )
    }
}

impl std::error::Error for UnknownFormat {}

impl std::str::FromStr for GraphFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "mermaid" => Ok(GraphFormat::Mermaid),
            "dot" => Ok(GraphFormat::Dot),
            "json" => Ok(GraphFormat::Json),
            "svg" => Ok(GraphFormat::Svg),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Cells and the def-use edges between them; cells that share an id are one node.
struct DataflowGraph {
    graph: DiGraph<Node, String>,
}

struct Node {
    id: String,
    /// 1-based place on the page.
    position: usize,
    line: String,
}

#[derive(Serialize)]
struct JsonNode<'a> {
    id: &'a str,
    position: usize,
    line: &'a str,
}

#[derive(Serialize)]
struct JsonEdge<'a> {
    from: &'a str,
    to: &'a str,
    names: Vec<&'a str>,
}

#[derive(Serialize)]
struct JsonGraph<'a> {
    nodes: Vec<JsonNode<'a>>,
    edges: Vec<JsonEdge<'a>>,
}

/// The dataflow graph of a notebook in the given format.
pub fn graph(cells: &[CellInput], format: GraphFormat) -> String {
    let graph = DataflowGraph::new(cells);
    match format {
        GraphFormat::Mermaid => graph.mermaid(),
        GraphFormat::Dot => graph.dot(),
        GraphFormat::Json => graph.json(),
        GraphFormat::Svg => graph.svg(),
    }
}

impl DataflowGraph {
    fn new(cells: &[CellInput]) -> Self {
        let mut graph = DiGraph::new();
        let mut by_id: BTreeMap<&str, NodeIndex> = BTreeMap::new();
        for (at, cell) in cells.iter().enumerate() {
            by_id.entry(&cell.id).or_insert_with(|| {
                let lines = cell.source.lines().map(str::trim);
                let line = lines
                    .clone()
                    .find(|line| !line.is_empty() && !line.starts_with('#'))
                    .or_else(|| lines.clone().next());
                graph.add_node(Node {
                    id: cell.id.clone(),
                    position: at + 1,
                    line: line.unwrap_or_default().to_owned(),
                })
            });
        }
        let mut names: BTreeMap<(NodeIndex, NodeIndex), BTreeSet<String>> = BTreeMap::new();
        for edge in analyze_notebook(cells).edges {
            if let (Some(&from), Some(&to)) =
                (by_id.get(edge.from.as_str()), by_id.get(edge.to.as_str()))
            {
                names.entry((from, to)).or_default().insert(edge.name);
            }
        }
        for ((from, to), names) in names {
            graph.add_edge(from, to, names.into_iter().collect::<Vec<_>>().join(", "));
        }
        DataflowGraph { graph }
    }

    fn edges(&self) -> impl Iterator<Item = (&Node, &Node, &str)> {
        self.graph.edge_indices().filter_map(|edge| {
            let (from, to) = self.graph.edge_endpoints(edge)?;
            Some((
                self.graph.node_weight(from)?,
                self.graph.node_weight(to)?,
                self.graph.edge_weight(edge)?.as_str(),
            ))
        })
    }

    fn mermaid(&self) -> String {
        let escape = |text: &str| {
            text.replace('"', "&quot;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('|', "&#124;")
        };
        let mut out = String::from("flowchart TD\n");
        for node in self.graph.node_weights() {
            let _ = writeln!(
                out,
                "    c{}[\"{}: {}\"]",
                node.position,
                node.position,
                escape(&shortened(&node.line, 40))
            );
        }
        for (from, to, names) in self.edges() {
            let _ = writeln!(
                out,
                "    c{} -- \"{}\" --> c{}",
                from.position,
                escape(names),
                to.position
            );
        }
        out
    }

    fn dot(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = String::from(
            "digraph notebook {\n    node [shape=box, style=rounded, fontname=monospace];\n",
        );
        for node in self.graph.node_weights() {
            let _ = writeln!(
                out,
                "    c{} [label=\"{}: {}\"];",
                node.position,
                node.position,
                escape(&shortened(&node.line, 40))
            );
        }
        for (from, to, names) in self.edges() {
            let _ = writeln!(
                out,
                "    c{} -> c{} [label=\"{}\"];",
                from.position,
                to.position,
                escape(names)
            );
        }
        out.push_str("}\n");
        out
    }

    fn json(&self) -> String {
        let graph = JsonGraph {
            nodes: self
                .graph
                .node_weights()
                .map(|node| JsonNode {
                    id: &node.id,
                    position: node.position,
                    line: &node.line,
                })
                .collect(),
            edges: self
                .edges()
                .map(|(from, to, names)| JsonEdge {
                    from: &from.id,
                    to: &to.id,
                    names: names.split(", ").collect(),
                })
                .collect(),
        };
        serde_json::to_string(&graph).unwrap_or_default()
    }

    fn svg(&self) -> String {
        let nodes = self.graph.node_weights();
        let cells: Vec<DrawnCell<'_>> = nodes
            .map(|node| DrawnCell {
                position: node.position,
                line: &node.line,
            })
            .collect();
        let edges = self.graph.edge_indices();
        let edges: Vec<DrawnEdge<'_>> = edges
            .filter_map(|edge| {
                let (from, to) = self.graph.edge_endpoints(edge)?;
                Some(DrawnEdge {
                    from: from.index(),
                    to: to.index(),
                    names: self.graph.edge_weight(edge)?,
                })
            })
            .collect();
        drawing::svg(&cells, &edges)
    }
}
