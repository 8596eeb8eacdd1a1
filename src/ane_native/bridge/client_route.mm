// The sequence and the option's keys are those of freedomtan/measure_ane_capacity and 751K's anebench.
#include "errors.h"
#include "folder.h"
#include "route.h"

@protocol AneModelClass
- (id)modelAtURL:(NSURL*)url key:(NSString*)key;
@end
@protocol AneClientClass
- (id)sharedConnection;
@end
@protocol AneClient
- (BOOL)compileModel:(id)model options:(NSDictionary*)options qos:(unsigned int)qos error:(NSError**)error;
- (BOOL)loadModel:(id)model options:(NSDictionary*)options qos:(unsigned int)qos error:(NSError**)error;
- (BOOL)evaluateWithModel:(id)model
                  options:(NSDictionary*)options
                  request:(id)request
                      qos:(unsigned int)qos
                    error:(NSError**)error;
- (BOOL)unloadModel:(id)model options:(NSDictionary*)options qos:(unsigned int)qos error:(NSError**)error;
@end

namespace ane {

namespace {

// Without a type the service takes the folder for one of Espresso's networks.
NSDictionary* with_type(NSDictionary* options) {
    NSMutableDictionary* result = [NSMutableDictionary dictionaryWithDictionary:options];
    result[@"kANEFModelType"] = @"kANEFModelMIL";
    return result;
}

class ClientModel final : public RoutedModel {
   public:
    ClientModel(id<AneClient> client, id<AneModelProperties> model, NSString* folder, unsigned qos)
        : RoutedModel(qos), client_(client), model_(model), folder_(folder) {}

    NSString* folder() const override { return folder_; }

    BOOL compile(NSError** error) override {
        return [client_ compileModel:model_ options:with_type(@{}) qos:qos_ error:error];
    }

    BOOL load(NSDictionary* options, NSError** error) override {
        return [client_ loadModel:model_ options:with_type(options) qos:qos_ error:error];
    }

    BOOL evaluate(id request, NSDictionary* options, NSError** error) override {
        return [client_ evaluateWithModel:model_ options:options request:request qos:qos_ error:error];
    }

    BOOL unload(NSError** error) override {
        return [client_ unloadModel:model_ options:@{} qos:qos_ error:error];
    }

    id described() const override { return model_; }
    id<AneModelProperties> properties() const override { return model_; }

   private:
    id<AneClient> client_;
    id<AneModelProperties> model_;
    NSString* folder_;
};

class ClientModels final : public ModelMaker {
   public:
    ClientModels()
        : models_((id<AneModelClass>)require_class_method("_ANEModel", @selector(modelAtURL:key:))) {
        auto clients = (id<AneClientClass>)require_class_method("_ANEClient", @selector(sharedConnection));
        for (const SEL selector : {
                 @selector(compileModel:options:qos:error:), @selector(loadModel:options:qos:error:),
                     @selector(evaluateWithModel:options:request:qos:error:),
                     @selector(unloadModel:options:qos:error:)
             })
            require_instance_method("_ANEClient", selector);
        client_ = [clients sharedConnection];
        if (!client_) throw DeviceUnavailable("AppleNeuralEngine.framework: _ANEClient gave no connection");
    }

    // Inferred: nothing lists the files of a folder of one's own before. Nobody has published it.
    bool hashes_weights() const override { return false; }

    std::unique_ptr<RoutedModel> make(NSData*, NSDictionary*, unsigned qos) const override {
        NSString* folder = folder_named([@"aneperf-" stringByAppendingString:[[NSUUID UUID] UUIDString]]);
        NSURL* text = [NSURL fileURLWithPath:[folder stringByAppendingPathComponent:@"model.mil"]];
        id<AneModelProperties> model = [models_ modelAtURL:text key:nil];
        if (!model) throw compile_failure("the framework made no model of this program");
        return std::make_unique<ClientModel>(client_, model, folder, qos);
    }

   private:
    id<AneModelClass> models_;
    id<AneClient> client_ = nil;
};

}  // namespace

std::unique_ptr<ModelMaker> open_client_route() { return std::make_unique<ClientModels>(); }

}  // namespace ane
