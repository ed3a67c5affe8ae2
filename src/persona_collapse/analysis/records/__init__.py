"""The records of what is computed from the results, beside those of the results themselves (`experiment/records`).

Those in data/ are written by hand, numbers.json by `report`, the others by `analysis`.

| file | record | what it holds |
| --- | --- | --- |
| statistics.json | Statistics | marker rates by condition, seed, group and persona; means over seeds; gates |
| contrasts.json | Contrasts | differences between conditions, seeds as units: one primary, two secondary, others |
| collapse.json | Collapse | the source's gap and the spread of personas in log-odds, sampled and teacher-forced |
| shapes.json | Shapes | answers that end, their length, blank lines, where the marker stands |
| readings.json | Readings | manipulation check, persona geometry, and what two readings predicted |
| lengths.json | Lengths | rates at like length, and the marker's probability after the same texts |
| claims.json | Claims | the verdicts: about eight claims, each with its parts |
| numbers.json | Numbers, of Number by key | what texts may quote |
| data/published.json | Published | the report's own numbers |
| data/published_counts.json | PublicCounts | the authors' public counts by persona and question |
| data/published_later.json | Later | what the authors found after the report |
"""

from ...experiment.groups import Group as Group
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
from .collapse import Collapse as Collapse
from .collapse import ConditionCollapse as ConditionCollapse
from .collapse import GapContrast as GapContrast
from .collapse import Index as Index
from .collapse import IndexOverSeeds as IndexOverSeeds
from .collapse import Indices as Indices
from .contrasts import Contrast as Contrast
from .contrasts import Contrasts as Contrasts
from .contrasts import Difference as Difference
from .contrasts import Role as Role
from .contrasts import Sign as Sign
from .contrasts import Signs as Signs
from .findings import Claim as Claim
from .findings import Claims as Claims
from .findings import Counts as Counts
from .findings import Finding as Finding
from .findings import Headline as Headline
from .findings import Judgement as Judgement
from .findings import Number as Number
from .findings import Numbers as Numbers
from .findings import Overall as Overall
from .findings import Part as Part
from .findings import Published as Published
from .findings import Unit as Unit
from .findings import Verdict as Verdict
from .findings import rounds_to as rounds_to
from .findings import worst as worst
from .lengths import AnswerLengths as AnswerLengths
from .lengths import Band as Band
from .lengths import ConditionLengths as ConditionLengths
from .lengths import GroupLengths as GroupLengths
from .lengths import LengthContrast as LengthContrast
from .lengths import Lengths as Lengths
from .lengths import RateDifference as RateDifference
from .lengths import Spread as Spread
from .lengths import TextLikelihood as TextLikelihood
from .public import HELD_OUT as HELD_OUT
from .public import TRAINED as TRAINED
from .public import PublicCounts as PublicCounts
from .public import PublicRun as PublicRun
from .rates import GROUPS as GROUPS
from .rates import ConditionRates as ConditionRates
from .rates import CouplingGate as CouplingGate
from .rates import DegeneracyGate as DegeneracyGate
from .rates import Gates as Gates
from .rates import GroupRate as GroupRate
from .rates import MarkerRate as MarkerRate
from .rates import PersonaRate as PersonaRate
from .rates import PossibleRate as PossibleRate
from .rates import RateGroup as RateGroup
from .rates import Shape as Shape
from .rates import Statistics as Statistics
from .rates import Summary as Summary
from .rates import contrast as contrast
from .readings import AdviceChange as AdviceChange
from .readings import AdviceCheck as AdviceCheck
from .readings import ChainGeometry as ChainGeometry
from .readings import GeometryMeasure as GeometryMeasure
from .readings import Later as Later
from .readings import LayerMeans as LayerMeans
from .readings import Measure as Measure
from .readings import Outcome as Outcome
from .readings import Prediction as Prediction
from .readings import Reading as Reading
from .readings import Readings as Readings
from .shapes import AnswerShape as AnswerShape
from .shapes import ConditionShapes as ConditionShapes
from .shapes import GroupShapes as GroupShapes
from .shapes import ShapeOverSeeds as ShapeOverSeeds
from .shapes import Shapes as Shapes
from .units import Asked as Asked
from .units import Ends as Ends
from .units import Interval as Interval
from .units import OverUnits as OverUnits
from .units import Seeds as Seeds
from .units import Share as Share
from .units import Tested as Tested
