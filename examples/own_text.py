"""Label flips against a text classifier of your own, TF-IDF and logistic regression on raw text."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from antivenom import Central
from antivenom.attacks import LabelFlipping
from antivenom.data import TextFile

mails = TextFile("examples/data/mails.jsonl", form="raw")
model = make_pipeline(TfidfVectorizer(), LogisticRegression())
scenario = Central(mails, model=model, access="data-manipulation", goal="availability", clean_rows=10)
for attack in (None, LabelFlipping(poisoned_rate=0.2), LabelFlipping(poisoned_rate=0.4)):
    print(attack, scenario.run(attack, None, seed=0).metrics["clean_accuracy"])
