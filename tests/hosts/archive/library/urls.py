from django import forms
from django.http import HttpResponse
from django.template import RequestContext, Template
from django.urls import include, path
from urls import urlpatterns as usual

from uploads.forms import UploadField


class DocumentForm(forms.Form):
    file = UploadField()


def new(request):
    page = Template("{% load crispy_forms_tags %}{{ form.media }}{{ form|crispy }}")
    return HttpResponse(page.render(RequestContext(request, {"form": DocumentForm()})))


urlpatterns = [path("new/", new), path("forms/", include("uploads.urls.forms")), *usual]
