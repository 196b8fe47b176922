"""Label flips against a pipeline of your own, on a CSV file with numbers and words."""

from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from antivenom import Central
from antivenom.attacks import LabelFlipping
from antivenom.data import TableFile

data = TableFile("examples/data/loans.csv", label="default", ignore=("customer",))
jobs = make_column_transformer((OneHotEncoder(), ["job"]), remainder="passthrough")
model = make_pipeline(jobs, HistGradientBoostingClassifier(max_iter=10))
scenario = Central(data, model=model, access="data-manipulation", goal="availability")
print(*(scenario.run(LabelFlipping(rate), None, seed=0).metrics for rate in (0, 0.2, 0.4)), sep="\n")
