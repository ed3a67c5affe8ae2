"""The record of each file that one module writes and another reads: what it must hold, checked when it is read.

    records.read(path, records.MarkerEval)              a JSON file as one record
    records.read(path, records.TrainingLog)             or as a mapping or list of records
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
| advice.jsonl | rows of Advice | sampling |
| geometry.json | Geometry | sampling |

Those of what is computed from the results are in `analysis/records`.
"""

from ..groups import ReportedGroup as ReportedGroup
from .reading import checked as checked
from .reading import plain as plain
from .reading import read as read
from .reading import read_rows as read_rows
from .reading import rounded as rounded
from .reading import write as write
from .reading import write_rows as write_rows
from .runs import Advice as Advice
from .runs import Completion as Completion
from .runs import Config as Config
from .runs import DataHash as DataHash
from .runs import Geometry as Geometry
from .runs import LayerGeometry as LayerGeometry
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
