"""Notebooks that are measured: names, cells, and what they must show at the end."""

from __future__ import annotations

# A few large objects, changed in place, aliased, and derived from each other (241 MB live).
TABLES = {
    "c01": """
import numpy as np, pandas as pd, random, time
import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression; from sklearn.ensemble import RandomForestClassifier
""",
    "c02": """
rng=np.random.default_rng(0); N,D=1_250_000,20
df=pd.DataFrame(rng.standard_normal((N,D)),columns=[f'x{i}' for i in range(D)])
""",
    "c03": "df['label']=(df['x0']+0.5*df['x1']>0).astype('int8')",
    "c04": "view=df; bundle={'data':df,'meta':{'n':N}}",
    "c05": "df.iloc[0:1000,3]=0.0",
    "c06": """
X=df[[f'x{i}' for i in range(D)]].to_numpy()[:200_000].copy(); y=df['label'].to_numpy()[:200_000].copy()
""",
    "c07": "clf=LogisticRegression(max_iter=50).fit(X,y); acc=float(clf.score(X,y))",
    "c08": "gen=(i*i for i in range(100)); first=[next(gen) for _ in range(3)]",
    "c09": "results={'acc':acc,'log':[]}; results['log'].append('fit')",
    "c10": "m=df['x0'].mean()",
    "c11": "words=[f'w{i%5000}_{i}' for i in range(300_000)]; counts={w:len(w) for w in words}",
    "c12": "fig,ax=plt.subplots(); _=ax.hist(df['x0'].to_numpy()[:10000],bins=50)",
    "c13": """
rf=RandomForestClassifier(n_estimators=20,max_depth=10,n_jobs=1,random_state=0).fit(X[:50_000],y[:50_000])
""",
    "c14": "df.drop(columns=['x19'],inplace=True); results['log'].append('drop')",
}
TABLES_PROBE = """
print(df.shape, (df['x3'].iloc[:1000]==0).mean(), view is df, bundle['data'] is df,
      'clf' in globals(), 'gen' in globals(), 'rf' in globals(), results['log'])
"""

# Many small objects: strings, nested dictionaries, arrays. Each cell that follows changes a few of them.
OBJECTS = {
    "c01": "import numpy as np",
    "c02": "words = [f'w{i % 5000}_{i}' for i in range(300_000)]",
    "c03": "tree = {f'k{i}': {f'j{j}': {'n': i * j, 'tags': [i, j]} for j in range(10)} for i in range(3000)}",
    "c04": "arrays = [np.arange(20) + i for i in range(10_000)]",
    "c05": "words.append('one more')",
    "c06": "tree['k7']['j3']['n'] = -1",
    "c07": "arrays[5][3] = 99",
    "c08": "total = sum(int(a.sum()) for a in arrays)",
    "c09": "longest = max(words, key=len)",
    "c10": "x = 1",
}
OBJECTS_PROBE = "print(len(words), tree['k7']['j3'], arrays[5][3], total, longest)"

# Two gigabytes of arrays, of which each cell touches one.
LARGE = {
    "c01": "import numpy as np",
    "c02": "parts = {f'p{i}': np.random.default_rng(i).random(25_000_000) for i in range(10)}",
    "c03": "parts['p3'][:1000] = 0.0",
    "c04": "mean = float(parts['p5'].mean())",
    "c05": "parts['p9'] *= 2.0",
    "c06": "x = 1",
}
LARGE_PROBE = "print(len(parts), mean, float(parts['p3'][:1000].sum()), parts['p9'].shape)"

# A long notebook: every cell adds a number, and reads what others left.
N_LONG = 400
LONG = {
    "c01": "import numpy as np, pandas as pd",
    "c02": """
df = pd.DataFrame(np.random.default_rng(0).random((1000, 4)), columns=list('abcd')); rows = []
def shift(x): return x + len(rows)
""",
    **{
        f"c{n:02}": f"x{n} = shift({n}) + float(df['a'].iloc[{n}]); rows.append(x{n}); print(x{n})"
        for n in range(3, N_LONG + 1)
    },
}
LONG_PROBE = f"print(len(rows), x3, x{N_LONG}, float(sum(rows)))"


def _rounds(n_rounds: int) -> dict[str, str]:
    """An ordinary notebook whose steps are repeated, so that the same state takes more or less time to reach."""
    steps = {
        "c03": "means = df.groupby('key').mean()",
        "c04": "ordered = df.sort_values('x0').head(1000)",
        "c05": "wide = df[['x0', 'x1', 'x2']].to_numpy(); gram = wide.T @ wide",
        "c06": "ranks = df['x1'].rank()",
        "c07": "df['y'] = np.sin(df['x0']) + np.sqrt(df['x2'].abs())",
        "c08": "parts = {k: float(v) for k, v in means['x0'].items()}",
        "c09": "quantiles = df[['x0', 'y']].quantile([0.1, 0.5, 0.9])",
        "c10": "text = sorted(str(v) for v in ordered['x0'])",
    }
    return {
        "c01": "import numpy as np, pandas as pd",
        "c02": """
rng = np.random.default_rng(0); n = 400_000
df = pd.DataFrame(rng.standard_normal((n, 5)), columns=[f'x{i}' for i in range(5)])
df['key'] = rng.integers(0, 500, n)
""",
        **{cell: f"for _ in range({n_rounds}): {step}" for cell, step in steps.items()},
    }


ROUNDS_PROBE = "print(float(df['y'].sum()), gram.shape, float(ranks.sum()), len(parts), text[0], quantiles.shape)"

WORKLOADS = {
    "rounds-1": (_rounds(1), ROUNDS_PROBE),
    "rounds-8": (_rounds(8), ROUNDS_PROBE),
    "rounds-80": (_rounds(80), ROUNDS_PROBE),
    "tables": (TABLES, TABLES_PROBE),
    "objects": (OBJECTS, OBJECTS_PROBE),
    "large": (LARGE, LARGE_PROBE),
    "long": (LONG, LONG_PROBE),
}
