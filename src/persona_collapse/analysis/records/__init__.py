"""The records of what is computed from the results, beside those of the results themselves (`experiment/records`).

| file | record | written by |
| --- | --- | --- |
| statistics.json | Statistics | analysis |
| lengths.json | Lengths | analysis |
| claims.json | Claims | analysis |
| numbers.json | Numbers, of Number by key | report |
| data/published.json | Published | by hand |
"""

from ...experiment.groups import ReportedGroup as ReportedGroup
from ...experiment.records.reading import checked as checked
from ...experiment.records.reading import plain as plain
from ...experiment.records.reading import read as read
from ...experiment.records.reading import read_rows as read_rows
from ...experiment.records.reading import rounded as rounded
from ...experiment.records.reading import write as write
from ...experiment.records.reading import write_rows as write_rows
from ...experiment.records.runs import Advice as Advice
from ...experiment.records.runs import Completion as Completion
from ...experiment.records.runs import Config as Config
from ...experiment.records.runs import DataHash as DataHash
from ...experiment.records.runs import Geometry as Geometry
from ...experiment.records.runs import LayerGeometry as LayerGeometry
from ...experiment.records.runs import MarkerEval as MarkerEval
from ...experiment.records.runs import MarkerLikelihood as MarkerLikelihood
from ...experiment.records.runs import PersonaTally as PersonaTally
from ...experiment.records.runs import QuestionTally as QuestionTally
from ...experiment.records.runs import RatesByPersona as RatesByPersona
from ...experiment.records.runs import Split as Split
from ...experiment.records.runs import Step as Step
from ...experiment.records.runs import Tally as Tally
from ...experiment.records.runs import TrainedOn as TrainedOn
from ...experiment.records.runs import TrainingLog as TrainingLog
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
