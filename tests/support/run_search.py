"""Search with synthetic trials: python run_search.py FOLDER MODEL DATA '{"trials": 20}' [FUNCTION]."""

import json
import sys
from pathlib import Path

import synthetic_trials

from pipeline.searching.search import SearchConfig, search
from pipeline.settings import make_config
from pipeline.targets import get_target


def main():
    folder, model, data, options = sys.argv[1:5]
    function = getattr(synthetic_trials, sys.argv[5] if len(sys.argv) > 5 else "trial")
    config = make_config({"model": {"path": model}, "data": {"source": data}}, "test")
    chosen = SearchConfig(validated=0, **json.loads(options))
    found = search(get_target("arm64"), config, chosen, Path(folder), Path(folder) / "store", function)
    print(json.dumps({"front": found.front, "trials": len(found.outcomes) - 1}))


if __name__ == "__main__":
    main()
