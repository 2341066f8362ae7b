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

WORKLOADS = {
    "tables": (TABLES, TABLES_PROBE),
    "objects": (OBJECTS, OBJECTS_PROBE),
    "large": (LARGE, LARGE_PROBE),
}
