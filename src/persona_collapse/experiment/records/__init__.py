"""The record of each file that one module writes and another reads: what it must hold, checked when it is read.

    records.read(path, records.Statistics)              a JSON file as one record
    records.read(path, records.Numbers)                 or as a mapping or list of records
    records.read_rows(path, records.Completion)         a JSON Lines file as a list of records
    records.write(path, record)                         sorted keys, a final newline; floats of results to 10 digits
    records.write_rows(path, rows)                      one record a line, keys in the order of the record
    records.checked(value, records.Number, where)       what did not come from a file
    records.plain(record)                               the mapping that would be written

A file that is missing, damaged, or impossible in itself (more hits than answers, a rate that its counts do not give)
is an `InputError` of one line, `path: key.of.the.place: what is wrong`. A reader then uses attributes, and looks up
nothing that may not be there: a key that a file may lack is an attribute that may be None. A `None` that was given is
written as null; a key that was never given is not written.

| file | record | written by |
| --- | --- | --- |
| trained_on.json | TrainedOn | training |
| training_log.json | TrainingLog, a list of Step | training |
| completions.jsonl | rows of Completion | sampling |
| marker_eval.json | MarkerEval | sampling |
| marker_likelihood.jsonl | rows of MarkerLikelihood | sampling |
| statistics.json | Statistics | analysis |
| lengths.json | Lengths | analysis |
| claims.json | Claims | analysis |
| numbers.json | Numbers, of Number by key | report |
| data/published.json | Published | by hand |
"""

from ..groups import ReportedGroup as ReportedGroup
from .findings import Claim as Claim
from .findings import Claims as Claims
from .findings import ClusterRobust as ClusterRobust
from .findings import Counts as Counts
from .findings import Finding as Finding
from .findings import Headline as Headline
from .findings import Number as Number
from .findings import Numbers as Numbers
from .findings import Part as Part
from .findings import Published as Published
from .findings import Reproduced as Reproduced
from .findings import Verdict as Verdict
from .findings import rounds_to as rounds_to
from .lengths import AnswerLengths as AnswerLengths
from .lengths import Band as Band
from .lengths import ConditionLengths as ConditionLengths
from .lengths import GroupLengths as GroupLengths
from .lengths import LengthContrast as LengthContrast
from .lengths import Lengths as Lengths
from .lengths import RateDifference as RateDifference
from .lengths import Spread as Spread
from .lengths import TextDifference as TextDifference
from .lengths import TextLikelihood as TextLikelihood
from .rates import ConditionRates as ConditionRates
from .rates import CouplingGate as CouplingGate
from .rates import DegeneracyGate as DegeneracyGate
from .rates import Gates as Gates
from .rates import GroupRate as GroupRate
from .rates import Interval as Interval
from .rates import MarkerRate as MarkerRate
from .rates import PersonaRate as PersonaRate
from .rates import PossibleRate as PossibleRate
from .rates import Shape as Shape
from .rates import Statistics as Statistics
from .rates import Summary as Summary
from .rates import Test as Test
from .rates import contrast as contrast
from .reading import checked as checked
from .reading import plain as plain
from .reading import read as read
from .reading import read_rows as read_rows
from .reading import rounded as rounded
from .reading import write as write
from .reading import write_rows as write_rows
from .runs import Completion as Completion
from .runs import Config as Config
from .runs import DataHash as DataHash
from .runs import MarkerEval as MarkerEval
from .runs import MarkerLikelihood as MarkerLikelihood
from .runs import PersonaTally as PersonaTally
from .runs import QuestionTally as QuestionTally
from .runs import RatesByPersona as RatesByPersona
from .runs import Split as Split
from .runs import Step as Step
from .runs import Tally as Tally
from .runs import TrainedOn as TrainedOn
from .runs import TrainingLog as TrainingLog
